using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.VhostUser;

/// <summary>A piece of guest memory that a link has mapped. Disposing unmaps it: only when nothing uses it any more.</summary>
public interface IMappedRegion : IDisposable
{
    /// <summary>Where it is mapped.</summary>
    MemoryRegion Region { get; }

    /// <summary>Whether a description and its descriptor mean the very memory that is mapped here, so that a new memory table may keep the mapping.</summary>
    /// <param name="description">The description; its user address does not matter.</param>
    /// <param name="descriptor">The descriptor; it stays the caller's.</param>
    bool IsSameMemory(in RegionDescription description, FileDescriptor? descriptor);
}
