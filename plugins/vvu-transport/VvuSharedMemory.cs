using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VvuTransport;

/// <summary>An in-flight area or a dirty log in the device's own memory. The mapping belongs to the device, which keeps it as long as this object uses it.</summary>
internal sealed class VvuSharedMemory : ISharedMemory
{
    private readonly VvuDevice _device;
    private int _isReleased;

    /// <summary>Uses a mapped part.</summary>
    /// <param name="area">Where it is.</param>
    /// <param name="device">The device.</param>
    public VvuSharedMemory(SharedArea area, VvuDevice device)
    {
        Area = area;
        _device = device;
        device.CountRegion(1);
    }

    /// <inheritdoc/>
    public SharedArea Area { get; }

    /// <inheritdoc/>
    public FileDescriptor? Descriptor => null;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isReleased, 1) == 0)
        {
            _device.CountRegion(-1);
        }
    }
}
