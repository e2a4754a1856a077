using System.Buffers.Binary;
using Vhost.Pci;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VvuTransport;

/// <summary>
/// Where a vvu device keeps its doorbells, its notification registers and the other VM's memory. There are two published layouts; which
/// one a device has is told by what it shows, since its PCI id is also that of virtio-mem.
/// </summary>
/// <param name="Name">Names the layout in logs.</param>
/// <param name="DoorbellBar">The BAR with the doorbells.</param>
/// <param name="DoorbellOffsetBytes">Where they begin.</param>
/// <param name="DoorbellLengthBytes">Length of all of them.</param>
/// <param name="DoorbellStrideBytes">Distance between two.</param>
/// <param name="NotificationBar">The BAR with the registers that give a queue's kick an interrupt vector, or null.</param>
/// <param name="NotificationOffsetBytes">Where they are.</param>
/// <param name="MemoryBar">The BAR with the other VM's memory.</param>
/// <param name="MemoryOffsetBytes">Where memory begins.</param>
internal sealed record VvuLayout(
    string Name,
    PciBar DoorbellBar,
    ulong DoorbellOffsetBytes,
    ulong DoorbellLengthBytes,
    ulong DoorbellStrideBytes,
    PciBar? NotificationBar,
    ulong NotificationOffsetBytes,
    PciBar MemoryBar,
    ulong MemoryOffsetBytes)
{
    /// <summary>The virtio device id that vvu was given before the standard gave it to virtio-mem.</summary>
    public const int VirtioDeviceId = 24;

    private const ushort TransitionalPciId = 0x1017;
    private const byte DoorbellCapability = 6;
    private const byte NotificationCapability = 7;
    private const byte MemoryCapability = 8;
    private const int FixedBar = 2;
    private const ulong FixedBarBytes = 1UL << 36;
    private const ulong FixedMemoryOffset = 0x1000;
    private const int FixedDoorbells = 1025;
    private const uint MinQueues = 256;
    private const uint MaxQueues = 1024;

    /// <summary>Recognises the device.</summary>
    /// <param name="virtio">The device.</param>
    /// <exception cref="VvuRefusal">It is no vvu device: says what it looks like.</exception>
    public static VvuLayout Detect(VirtioPciDevice virtio)
    {
        var device = virtio.Device;
        if (virtio.DeviceId != VirtioDeviceId)
        {
            throw new VvuRefusal($"{device.Address}: virtio device {virtio.DeviceId} is not a vvu device ({VirtioDeviceId})");
        }

        var doorbell = virtio.Find(DoorbellCapability);
        var memory = virtio.Find(MemoryCapability);
        if (doorbell is { } doorbellStructure && memory is { } memoryStructure)
        {
            return FromCapabilities(virtio, doorbellStructure, virtio.Find(NotificationCapability), memoryStructure);
        }

        if (doorbell is not null || memory is not null)
        {
            throw new VvuRefusal($"{device.Address}: the device shows {(doorbell is null ? "shared memory (8) without doorbells (6)" : "doorbells (6) without shared memory (8)")}; it is no vvu device that is known");
        }

        return FromFixedOffsets(virtio);
    }

    private static VvuLayout FromCapabilities(VirtioPciDevice virtio, VirtioPciCapability doorbell, VirtioPciCapability? notification, VirtioPciCapability memory)
    {
        var device = virtio.Device;
        if (doorbell.CapabilityLengthBytes < 20)
        {
            throw new VvuRefusal($"{device.Address}: the doorbell capability is {doorbell.CapabilityLengthBytes} bytes long instead of 20");
        }

        Span<byte> multiplier = stackalloc byte[4];
        device.ReadConfig(doorbell.CapabilityOffset + 16, multiplier);
        var stride = BinaryPrimitives.ReadUInt32LittleEndian(multiplier);
        if (stride is < 2 or > 65536 || stride % 2 != 0)
        {
            throw new VvuRefusal($"{device.Address}: the doorbells are {stride} bytes apart, which cannot be");
        }

        var doorbellBar = VirtioPciCapabilities.OpenBar(device, doorbell, "doorbell", 2);
        var notificationBar = notification is { } registers ? VirtioPciCapabilities.OpenBar(device, registers, "notification", 4) : null;
        // The length of the shared memory structure has no meaning: memory goes on to the end of the BAR.
        var memoryBar = VirtioPciCapabilities.OpenBar(device, memory, "shared memory", 0);
        return new("capabilities", doorbellBar, doorbell.OffsetBytes, doorbell.LengthBytes, stride, notificationBar, notification?.OffsetBytes ?? 0, memoryBar, memory.OffsetBytes);
    }

    private static VvuLayout FromFixedOffsets(VirtioPciDevice virtio)
    {
        var device = virtio.Device;
        PciBar bar;
        try
        {
            bar = device.OpenBar(FixedBar);
        }
        catch (PciException exception)
        {
            throw new VvuRefusal($"{device.Address}: no vvu capabilities (6, 8) and no BAR 2 ({exception.Message}); it is virtio-mem or something else, not a vvu device");
        }

        var queues = ReadMaxQueues(virtio);
        var looksRight = device.Identity.DeviceId == TransitionalPciId || bar.LengthBytes == FixedBarBytes;
        if (!looksRight || queues is < MinQueues or > MaxQueues || bar.LengthBytes <= FixedMemoryOffset)
        {
            throw new VvuRefusal(
                $"{device.Address}: no vvu capabilities (6, 8), PCI id 0x{device.Identity.DeviceId:x4}, BAR 2 of 0x{bar.LengthBytes:x} bytes, max_vhost_queues {queues}: it is virtio-mem or something else, not a vvu device");
        }

        return new("fixed offsets", bar, 0, FixedDoorbells * 2, 2, null, 0, bar, FixedMemoryOffset);
    }

    /// <summary>How many queues the device can serve (device configuration, offset 4).</summary>
    public static uint ReadMaxQueues(VirtioPciDevice virtio)
    {
        Span<byte> field = stackalloc byte[4];
        virtio.ReadDeviceConfig(4, field);
        return BinaryPrimitives.ReadUInt32LittleEndian(field);
    }
}
