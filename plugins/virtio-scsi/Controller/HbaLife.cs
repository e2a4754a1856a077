using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Plugins.VirtioScsi.Queues;
using Vhost.Virtio;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VirtioScsi.Controller;

/// <summary>
/// One life of the HBA, from negotiation to reset: its queues and their memory. HBA thread only. Disposed after the device was reset.
/// </summary>
internal sealed class HbaLife : IDisposable
{
    private const int FirstRequestQueue = 2;
    private const int ControlQueueSize = 16;
    private const int EventQueueSize = 16;
    private const ulong HotPlug = 1UL << 1; // VIRTIO_SCSI_F_HOTPLUG
    private const ulong Change = 1UL << 2; // VIRTIO_SCSI_F_CHANGE
    private const nuint MaxTransferBytes = 1024 * 1024;
    private readonly VirtioPciDevice _virtio;
    private readonly List<(QueueMemory Memory, VirtioPciQueue Doorbell)> _requestQueues = [];

    public HbaLife(VirtioPciDevice virtio, int queueCount, int queueSize, int vectorCount)
    {
        _virtio = virtio;
        Features = virtio.Negotiate(
            HotPlug | Change | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | VirtioFeatures.RingPacked | VirtioFeatures.AccessPlatform | VirtioFeatures.OrderPlatform);
        Format = (Features & VirtioFeatures.RingPacked) != 0 ? VirtqueueFormat.Packed : VirtqueueFormat.Split;
        Config = HbaConfig.Read(virtio);
        if (Config.RequestQueueCount < queueCount)
        {
            throw new ControllerRefusal(
                $"{virtio.Device.Address}: the device has {Config.RequestQueueCount} request queues, but there are {queueCount} reactors; use a cpumask of fewer CPUs (QEMU: num_queues={queueCount})");
        }

        try
        {
            // Vector 0: configuration, control and events; then one for each request queue. With fewer, all share vector 0.
            var hasVectors = vectorCount > 0 && !virtio.Device.IsLevelTriggered;
            ushort shared = hasVectors ? (ushort)0 : VirtioPciDevice.NoVector;
            virtio.TrySetConfigVector(shared);
            var (controlMemory, controlBell) = CreateQueue(0, ControlQueueSize, 2, shared, withBounceBuffers: false);
            Control = new ControlQueue(virtio.Device, controlMemory, controlBell);
            var (eventMemory, eventBell) = CreateQueue(1, EventQueueSize, 2, shared, withBounceBuffers: false);
            Events = new EventQueue(virtio.Device, eventMemory, eventBell);
            for (var i = 0; i < queueCount; i++)
            {
                var vector = hasVectors && vectorCount > queueCount ? (ushort)(i + 1) : shared;
                _requestQueues.Add(CreateQueue(FirstRequestQueue + i, queueSize, Config.MaxSegments, vector, withBounceBuffers: true));
            }

            virtio.SetDriverOk();
            Events.Fill();
        }
        catch
        {
            virtio.Reset();
            Dispose();
            throw;
        }
    }

    public ulong Features { get; }

    public VirtqueueFormat Format { get; }

    public HbaConfig Config { get; }

    public ControlQueue Control { get; } = null!;

    public EventQueue Events { get; } = null!;

    public IReadOnlyList<(QueueMemory Memory, VirtioPciQueue Doorbell)> RequestQueues => _requestQueues;

    /// <summary>The most that a command moves.</summary>
    public nuint TransferBytes => nuint.Min(MaxTransferBytes, (nuint)Config.MaxSectors * 512);

    /// <summary>What the device says is wrong with it, or null.</summary>
    public string? FatalStatus => (_virtio.Status & VirtioDeviceStatus.NeedsReset) != 0 ? "it asks for a reset (DEVICE_NEEDS_RESET)" : null;

    /// <summary>Resets the device: it does no DMA afterwards.</summary>
    public void Reset() => _virtio.Reset();

    /// <inheritdoc/>
    public void Dispose()
    {
        Control?.Dispose();
        Events?.Dispose();
        foreach (var (memory, _) in _requestQueues)
        {
            memory.Dispose();
        }

        _requestQueues.Clear();
    }

    private (QueueMemory Memory, VirtioPciQueue Doorbell) CreateQueue(int index, int wantedSize, int segments, ushort vector, bool withBounceBuffers)
    {
        var max = _virtio.GetMaxQueueSize(index);
        if (max is < 2 or > 32768 || (Format == VirtqueueFormat.Split && !int.IsPow2(max)))
        {
            throw new ControllerRefusal($"{_virtio.Device.Address}: queue {index} has the impossible size {max}");
        }

        var size = Math.Min(max, Format == VirtqueueFormat.Split ? (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)wantedSize) : wantedSize);
        var memory = new QueueMemory(_virtio.Device.Dma, Format, size, Features, segments, withBounceBuffers);
        try
        {
            var layout = memory.Layout;
            var doorbell = _virtio.EnableQueue(
                index, size, memory.RingIova + (ulong)layout.DescriptorsOffsetBytes, memory.RingIova + (ulong)layout.DriverOffsetBytes,
                memory.RingIova + (ulong)layout.DeviceOffsetBytes, vector);
            return (memory, doorbell);
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }
}
