using System.Buffers.Binary;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Abstractions;
using Vhost.Plugins.VhostBlk;
using Vhost.Testing;
using Vhost.Virtio;

namespace Vhost.VhostBlk.Tests;

/// <summary>A blk controller over a bdev in memory, and the guest's driver for it, on one thread.</summary>
internal sealed class BlkBench : IDisposable
{
    public const ulong FeatureReadOnly = 1UL << 5;
    public const ulong FeatureFlush = 1UL << 9;
    public const ulong FeatureConfigWce = 1UL << 11;
    public const ulong FeatureDiscard = 1UL << 13;
    public const ulong FeatureWriteZeroes = 1UL << 14;

    private readonly List<GuestQueue> _queues = [];

    public BlkBench(
        MemoryBdevPort? port = null,
        BlkOptions? options = null,
        VirtqueueFormat format = VirtqueueFormat.Split,
        int queueSize = 128,
        ulong without = 0,
        int queueCount = 1,
        int reactorCount = 1,
        int tableEntries = 0)
    {
        Port = port ?? new MemoryBdevPort();
        Reactors = [.. Enumerable.Range(0, reactorCount).Select(id => new ManualReactor(id))];
        options ??= new BlkOptions { Bdev = Port.Name };
        IDeviceTypeFactory factory = new BlkFactory();
        Device = factory.Create(
            new DeviceContext { Name = "vhost.1", Reactors = Reactors, GetBdev = _ => Port, Logger = NullLogger.Instance },
            options);
        Session = Device.OpenSession(FrontEnd);
        Features = Device.OfferedFeatures & ~without;
        if (format == VirtqueueFormat.Split)
        {
            Features &= ~VirtioFeatures.RingPacked;
        }

        Session.SetFeatures(Features);
        Ram = new GuestRam((0x1000_0000, 16 << 20));
        Run(Session.SetMemoryAsync(Ram.Map, new Dictionary<int, VirtqueueAddresses>(), TestContext.Current.CancellationToken).AsTask());
        for (var i = 0; i < queueCount; i++)
        {
            _queues.Add(new GuestQueue(Ram, format, queueSize, Features, tableEntries, i));
            Run(Session.StartQueueAsync(_queues[i].Setup(), TestContext.Current.CancellationToken).AsTask());
        }
    }

    public MemoryBdevPort Port { get; }

    public ManualReactor[] Reactors { get; }

    public ManualReactor Reactor => Reactors[0];

    public IVirtioDevice Device { get; }

    public IVirtioSession Session { get; }

    public RecordingFrontEnd FrontEnd { get; } = new();

    public ulong Features { get; }

    public GuestRam Ram { get; }

    public IReadOnlyList<GuestQueue> Queues => _queues;

    public DriverVirtqueue Driver => _queues[0].Driver;

    public static byte[] Header(uint type, ulong sector)
    {
        var header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        return header;
    }

    public static byte[] Range(ulong sector, uint sectors, uint flags)
    {
        var range = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(range, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(8), sectors);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(12), flags);
        return range;
    }

    /// <summary>Sends a request in the usual layout and waits for the answer.</summary>
    /// <returns>The status.</returns>
    public byte Send(uint type, ulong sector, byte[] data, int readBytes, out byte[] answer, out uint written) =>
        Send([[.. Header(type, sector)], data], [readBytes, 1], out answer, out written);

    public byte Send(uint type, ulong sector, params byte[][] data) => Send(type, sector, [.. data.SelectMany(part => part)], 0, out _, out _);

    /// <summary>Sends a request in any layout.</summary>
    public byte Send(byte[][] readable, int[] writable, out byte[] answer, out uint written)
    {
        var sources = new List<DriverSegment>();
        foreach (var part in readable.Where(part => part.Length != 0))
        {
            var address = Ram.Allocate((ulong)part.Length, 1);
            part.CopyTo(Ram.Span(address, part.Length));
            sources.Add(new DriverSegment(address, (uint)part.Length));
        }

        var targets = new List<DriverSegment>();
        foreach (var length in writable.Where(length => length != 0))
        {
            var address = Ram.Allocate((ulong)length, 1);
            Ram.Span(address, length).Fill(0xcc);
            targets.Add(new DriverSegment(address, (uint)length));
        }

        Assert.True(Driver.TryAdd([.. sources], [.. targets], 42));
        Driver.Publish();
        ulong token = 0;
        uint count = 0;
        Reactor.TurnUntil(() => Driver.TryGetUsed(out token, out count) || Driver.BrokenReason != null || !FrontEnd.BrokenQueues.IsEmpty);
        Assert.Null(Driver.BrokenReason);
        written = count;
        var bytes = targets.SelectMany(target => Ram.Span(target.Address, (int)target.LengthBytes).ToArray()).ToArray();
        answer = bytes.Length == 0 ? [] : bytes[..^1];
        return bytes.Length == 0 ? (byte)0xff : bytes[^1];
    }

    public byte[] Config(int offset, int length)
    {
        var config = new byte[length];
        Device.ReadConfig(offset, config);
        return config;
    }

    public void Run(Task task)
    {
        var end = Environment.TickCount64 + 120_000;
        while (!task.IsCompleted)
        {
            foreach (var reactor in Reactors)
            {
                reactor.Turn();
            }

            Assert.True(Environment.TickCount64 < end, "what the test waits for does not happen");
        }

        task.GetAwaiter().GetResult();
    }

    public void Dispose()
    {
        Run(Session.DisposeAsync().AsTask());
        Run(Device.DisposeAsync().AsTask());
        Ram.Dispose();
        Port.Dispose();
    }
}
