using Vhost.Abstractions;
using Vhost.Virtio;

namespace Vhost.Testing;

/// <summary>A virtqueue in a guest's memory with its driver: what a transport would hand to a device.</summary>
public sealed unsafe class GuestQueue
{
    private readonly ulong _address;
    private readonly DriverVirtqueueLayout _layout;

    public GuestQueue(GuestRam ram, VirtqueueFormat format, int size, ulong features, int tableEntryCount = 0, int index = 0)
    {
        Ram = ram;
        Index = index;
        _layout = new DriverVirtqueueLayout(format, size, tableEntryCount);
        _address = ram.Allocate((ulong)_layout.TotalBytes);
        Memory = new DriverVirtqueueMemory(_layout, ram.Host(_address), _address);
        Driver = DriverVirtqueue.Create(format, size, features, Memory);
    }

    public GuestRam Ram { get; }

    public int Index { get; }

    public DriverVirtqueueMemory Memory { get; }

    public DriverVirtqueue Driver { get; }

    public CountingCall Call { get; } = new();

    public VirtqueueAddresses Addresses => new((nint)Memory.Descriptors, (nint)Memory.Driver, (nint)Memory.Device);

    /// <summary>Guest address of the used ring or the packed descriptor ring.</summary>
    public ulong UsedGuestAddress => _address + (ulong)(_layout.Format == VirtqueueFormat.Packed ? _layout.DescriptorsOffsetBytes : _layout.DeviceOffsetBytes);

    /// <summary>The set-up of the queue at its beginning.</summary>
    public VirtqueueSetup Setup(VirtqueueState? state = null, int kickFileDescriptor = -1) => new()
    {
        QueueIndex = Index,
        Size = _layout.Size,
        Format = _layout.Format,
        Addresses = Addresses,
        State = state ?? (_layout.Format == VirtqueueFormat.Packed ? new VirtqueueState(0x8000, 0x8000) : default),
        KickFileDescriptor = kickFileDescriptor,
        Call = Call,
    };
}
