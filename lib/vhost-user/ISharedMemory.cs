using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.VhostUser;

/// <summary>Memory outside guest memory that both sides share. Disposing unmaps it: only when nothing uses it any more.</summary>
public interface ISharedMemory : IDisposable
{
    /// <summary>Where it is mapped.</summary>
    SharedArea Area { get; }

    /// <summary>What to send to the front-end, for memory that was created here; else null. Owned by this object.</summary>
    FileDescriptor? Descriptor { get; }
}
