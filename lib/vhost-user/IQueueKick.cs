namespace Vhost.VhostUser;

/// <summary>How a queue learns that the driver has made requests available. Disposed when the queue has stopped.</summary>
public interface IQueueKick : IDisposable
{
    /// <summary>A descriptor that becomes readable, or -1: then the queue is polled.</summary>
    int WakeFileDescriptor { get; }
}
