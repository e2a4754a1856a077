namespace Vhost.Abstractions;

/// <summary>Interrupts the driver for one queue: an eventfd, a doorbell. The transport may change what is behind it at any time.</summary>
public interface ICallNotifier
{
    /// <summary>Interrupts the driver. The queue's reactor calls it at most once a batch, after the used ring was published. Never blocks.</summary>
    void Notify();
}
