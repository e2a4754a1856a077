using System.Buffers.Binary;
using System.Diagnostics;
using Vhost.Linux;
using Vhost.Pci;
using Vhost.Virtio;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VvuTransport;

/// <summary>A vvu device, set up: its queues run and its status can be set. The server's thread only; doorbells are the reactors'.</summary>
internal sealed class VvuDevice : IDisposable
{
    /// <summary>Status: this side is up.</summary>
    public const uint SlaveUp = 1;

    /// <summary>Status: the other VM is connected.</summary>
    public const uint MasterUp = 2;

    /// <summary>
    /// A device feature of our own device: every vhost-user message passes, and one to the other side without the reply flag is a request of this side.
    /// </summary>
    private const ulong FullForwardingFeature = 1;

    private const int ReceiveQueue = 0;
    private const int SendQueue = 1;
    private const int TrackingBarIndex = 0;
    private const int FirstKickVector = 2;
    private const int MaxKickVectors = 64;
    private readonly PciBar? _notificationBar;
    private readonly Dictionary<(int Bar, ulong Offset, ulong Length), nint> _mapped = [];
    private readonly EventFd[] _forwardedKicks;
    private int _regionCount;

    /// <summary>Takes and sets up the device.</summary>
    /// <param name="pci">The PCI device; owned from now on, also when this throws.</param>
    /// <param name="queueCount">How many queues the served device has.</param>
    public VvuDevice(IPciDevice pci, int queueCount)
    {
        Pci = pci;
        _forwardedKicks = [];
        try
        {
            Virtio = new VirtioPciDevice(pci);
            Layout = VvuLayout.Detect(Virtio);
            MaxQueueCount = (int)Math.Min(VvuLayout.ReadMaxQueues(Virtio), 1024);
            var features = Virtio.Negotiate(
                FullForwardingFeature | VirtioFeatures.AnyLayout | VirtioFeatures.EventIndex | VirtioFeatures.AccessPlatform | VirtioFeatures.OrderPlatform);
            HasFullForwarding = (features & FullForwardingFeature) != 0;
            TrackingBar = HasFullForwarding ? TryOpenTrackingBar(pci) : null;
            _notificationBar = Layout.NotificationBar;
            Vectors = EnableVectors(queueCount);
            pci.SetBusMastering(true);
            if (pci.IsLevelTriggered && Vectors.Count != 0 && _notificationBar is not null)
            {
                _forwardedKicks = [.. Enumerable.Range(0, queueCount).Select(_ => EventFd.Create())];
            }

            var hasVectors = Vectors.Count != 0 && !pci.IsLevelTriggered;
            Virtio.TrySetConfigVector(hasVectors ? (ushort)0 : VirtioPciDevice.NoVector);
            Receive = new MessageQueue(Virtio, ReceiveQueue, "rx", features, hasVectors ? (ushort)Math.Min(1, Vectors.Count - 1) : VirtioPciDevice.NoVector);
            Send = new MessageQueue(Virtio, SendQueue, "tx", features, VirtioPciDevice.NoVector);
            Virtio.SetDriverOk();
            Receive.GiveAll();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public IPciDevice Pci { get; }

    public VirtioPciDevice Virtio { get; } = null!;

    public VvuLayout Layout { get; } = null!;

    public int MaxQueueCount { get; }

    /// <summary>Whether the device forwards every message.</summary>
    public bool HasFullForwarding { get; }

    /// <summary>The BAR with the in-flight area and the dirty log, which only our own device has; or null.</summary>
    public PciBar? TrackingBar { get; }

    /// <summary>Eventfds by vector: 0 configuration, 1 messages, from 2 kicks; or one INTx line; or none.</summary>
    public IReadOnlyList<int> Vectors { get; } = [];

    public MessageQueue Receive { get; } = null!;

    public MessageQueue Send { get; } = null!;

    /// <summary>How kicks arrive, for the log.</summary>
    public string KickKind =>
        _notificationBar is null ? "kicks are polled for (the device cannot interrupt for them)"
        : _forwardedKicks.Length != 0 ? "kicks by INTx"
        : Vectors.Count > FirstKickVector ? "kicks by MSI-X" : "kicks are polled for";

    /// <summary>The status register.</summary>
    public uint ReadStatus()
    {
        Span<byte> field = stackalloc byte[4];
        Virtio.ReadDeviceConfig(0, field);
        return BinaryPrimitives.ReadUInt32LittleEndian(field);
    }

    /// <summary>Sets the status register.</summary>
    public void WriteStatus(uint value) => Virtio.WriteDeviceConfig32(0, value);

    /// <summary>Gives a queue's kick a vector.</summary>
    /// <returns>The eventfd to wait on, or -1: the queue is polled.</returns>
    public int EnableKick(int queueIndex)
    {
        if (_notificationBar is null)
        {
            return -1;
        }

        if (_forwardedKicks.Length != 0)
        {
            return queueIndex < _forwardedKicks.Length ? _forwardedKicks[queueIndex].Raw : -1;
        }

        var vector = FirstKickVector + queueIndex;
        if (vector >= Vectors.Count)
        {
            return -1;
        }

        // Select the queue, then give it the vector; 0xffff reads back where the device has none to give. The device forgets it at each disconnect.
        _notificationBar.Write16(Layout.NotificationOffsetBytes, (ushort)queueIndex);
        _notificationBar.Write16(Layout.NotificationOffsetBytes + 2, (ushort)vector);
        return _notificationBar.Read16(Layout.NotificationOffsetBytes + 2) == vector ? Vectors[vector] : -1;
    }

    /// <summary>Passes an interrupt of a shared line on to every queue.</summary>
    public void ForwardKicks()
    {
        foreach (var kick in _forwardedKicks)
        {
            kick.Signal();
        }
    }

    /// <summary>Where a queue's doorbell lies, or null if the device has none for it.</summary>
    public ulong? DoorbellOffset(int queueIndex)
    {
        var offset = (ulong)queueIndex * Layout.DoorbellStrideBytes;
        return queueIndex < MaxQueueCount && offset + 2 <= Layout.DoorbellLengthBytes ? Layout.DoorbellOffsetBytes + offset : null;
    }

    /// <summary>Where the doorbell for a queue's errors lies, or null if the device has none: calls come first, then the log's, then errors.</summary>
    public ulong? ErrorDoorbellOffset(int queueIndex)
    {
        var offset = ((ulong)MaxQueueCount + 1 + (ulong)queueIndex) * Layout.DoorbellStrideBytes;
        return HasFullForwarding && queueIndex < MaxQueueCount && offset + 2 <= Layout.DoorbellLengthBytes ? Layout.DoorbellOffsetBytes + offset : null;
    }

    /// <summary>Maps a part of a BAR with memory; the same part is mapped once. 0 if it cannot be mapped.</summary>
    public nint Map(PciBar bar, ulong barOffsetBytes, ulong lengthBytes)
    {
        const ulong pageMask = 4095;
        var start = barOffsetBytes & ~pageMask;
        var length = (barOffsetBytes - start + lengthBytes + pageMask) & ~pageMask;
        if (!_mapped.TryGetValue((bar.Index, start, length), out var address))
        {
            address = bar.TryMap(start, length);
            if (address == 0)
            {
                return 0;
            }

            _mapped.Add((bar.Index, start, length), address);
        }

        return address + (nint)(barOffsetBytes - start);
    }

    /// <summary>How long a load from the other VM's memory takes at best, in nanoseconds; 0 while none is mapped.</summary>
    // SAFETY: mappings last as long as this object, and are at least a page long.
    public unsafe long MeasureMemory()
    {
        var address = _mapped.FirstOrDefault(mapped => mapped.Key.Bar == Layout.MemoryBar.Index).Value;
        if (address == 0)
        {
            return 0;
        }

        var best = long.MaxValue;
        for (var i = 0; i < 8; i++)
        {
            var start = Stopwatch.GetTimestamp();
            _ = Volatile.Read(ref *(uint*)address);
            best = Math.Min(best, (long)Stopwatch.GetElapsedTime(start).TotalNanoseconds);
        }

        return Math.Max(best, 1);
    }

    /// <summary>A session uses a mapped part of the BAR, or has let go of it.</summary>
    public void CountRegion(int change) => Interlocked.Add(ref _regionCount, change);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Volatile.Read(ref _regionCount) > 0)
        {
            // A session gave requests up that a bdev still has: memory must not vanish under them.
            Layout.MemoryBar.KeepMappings();
            TrackingBar?.KeepMappings();
        }

        try
        {
            if (!Pci.Removed.IsCancellationRequested)
            {
                Virtio?.Reset();
            }
        }
        catch (IOException)
        {
            // A device that does not reset is stopped by the function reset or the loss of bus mastering in the disposal of the PCI device.
            Pci.SetBusMastering(false);
        }

        Receive?.Dispose();
        Send?.Dispose();
        Pci.Dispose();
        foreach (var kick in _forwardedKicks)
        {
            kick.Dispose();
        }
    }

    private static PciBar? TryOpenTrackingBar(IPciDevice pci)
    {
        try
        {
            return pci.OpenBar(TrackingBarIndex);
        }
        catch (PciException)
        {
            // A device that forwards everything else: what needs this memory is not offered.
            return null;
        }
    }

    private IReadOnlyList<int> EnableVectors(int queueCount)
    {
        var available = Pci.InterruptVectorCount;
        if (available == 0)
        {
            return [];
        }

        var wanted = Pci.IsLevelTriggered ? 1 : FirstKickVector + (_notificationBar is null ? 0 : Math.Min(queueCount, MaxKickVectors));
        return Pci.EnableInterrupts(Math.Min(available, wanted));
    }
}
