using System.Buffers.Binary;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Abstractions;
using Vhost.Plugins.VhostScsi;
using Vhost.Testing;
using Vhost.Virtio;

namespace Vhost.VhostScsi.Tests;

/// <summary>A guest with a driver for a virtio SCSI controller, on reactors that are turned by hand.</summary>
internal sealed class ScsiGuest : IDisposable
{
    public const ulong Hotplug = 1 << 1;
    public const ulong Change = 1 << 2;
    public const int HeaderLength = 51;
    public const int ResponseLength = 108;

    private readonly Dictionary<ulong, Sent> _sent = [];
    private ulong _lastToken;

    public ScsiGuest(
        IReadOnlyDictionary<byte, MemoryBdevPort> targets,
        int requestQueues = 1,
        int reactors = 1,
        int size = 64,
        ulong features = Hotplug | Change,
        VirtqueueFormat format = VirtqueueFormat.Split,
        int tableEntries = 0,
        VhostScsiFactory? factory = null,
        string name = "vhost.0",
        ulong ramBytes = 16 << 20,
        ManualReactor[]? shared = null)
    {
        Reactors = shared ?? [.. Enumerable.Range(0, reactors).Select(i => new ManualReactor(i))];
        IDeviceTypeFactory deviceType = factory ?? new VhostScsiFactory();
        var options = (VhostScsiOptions)deviceType.CreateDefaultOptions();
        options.Queues = requestQueues;
        options.Identity = "tests";
        options.Targets = targets.ToDictionary(target => $"{target.Key}", target => target.Value.Name);
        Device = deviceType.Create(
            new DeviceContext
            {
                Name = name,
                Reactors = Reactors,
                GetBdev = bdev => targets.Values.First(port => port.Name == bdev),
                Logger = NullLogger.Instance,
            },
            options);
        Session = Device.OpenSession(FrontEnd);
        Features = VirtioFeatures.Version1 | features | (format == VirtqueueFormat.Packed ? VirtioFeatures.RingPacked : 0)
            | (tableEntries > 0 ? VirtioFeatures.IndirectDescriptors : 0);
        Session.SetFeatures(Features);
        Ram = new GuestRam((0x10_0000, ramBytes));
        Run(Session.SetMemoryAsync(Ram.Map, new Dictionary<int, VirtqueueAddresses>(), TestContext.Current.CancellationToken).AsTask());
        Queues = [.. Enumerable.Range(0, requestQueues + 2).Select(i => new GuestQueue(Ram, format, size, Features, tableEntries, i))];
        foreach (var queue in Queues)
        {
            Start(queue);
        }
    }

    public ManualReactor[] Reactors { get; }

    public RecordingFrontEnd FrontEnd { get; } = new();

    public IVirtioDevice Device { get; }

    public IVirtioSession Session { get; }

    public ulong Features { get; }

    public GuestRam Ram { get; }

    public GuestQueue[] Queues { get; }

    /// <summary>How a request's parts are cut into descriptors; 0 for one piece each.</summary>
    public int PieceLength { get; set; }

    /// <summary>Whether header and data share descriptors.</summary>
    public bool JoinsHeaderAndData { get; set; }

    public static ulong Lun(byte target, int lun = 0) => 1UL | ((ulong)target << 8) | ((ulong)(0x40 | (lun >> 8)) << 16) | ((ulong)(byte)lun << 24);

    /// <summary>How an event names unit 0 of a target: without the bits of flat addressing, which Linux would take for a part of the number.</summary>
    public static ulong EventLun(byte target) => 1UL | ((ulong)target << 8);

    public void Start(GuestQueue queue, VirtqueueState? state = null)
        => Run(Session.StartQueueAsync(queue.Setup(state), TestContext.Current.CancellationToken).AsTask());

    public VirtqueueStop Stop(GuestQueue queue, TimeSpan? limit = null)
    {
        using var token = new CancellationTokenSource(limit ?? TimeSpan.FromSeconds(120));
        return Run(Session.StopQueueAsync(queue.Index, token.Token).AsTask());
    }

    public T Run<T>(Task<T> task)
    {
        Run((Task)task);
        return task.GetAwaiter().GetResult();
    }

    public void Run(Task task)
    {
        Until(() => task.IsCompleted);
        task.GetAwaiter().GetResult();
    }

    public void Turn()
    {
        foreach (var reactor in Reactors)
        {
            reactor.Turn();
        }
    }

    public void TurnUntilIdle()
    {
        for (var quiet = 0; quiet < 3;)
        {
            var work = 0;
            foreach (var reactor in Reactors)
            {
                work += reactor.Turn();
            }

            quiet = work == 0 ? quiet + 1 : 0;
        }
    }

    public void Until(Func<bool> condition)
    {
        var end = Environment.TickCount64 + 120_000;
        while (!condition())
        {
            Turn();
            Assert.True(Environment.TickCount64 < end, "what the test waits for does not happen");
        }
    }

    /// <summary>Puts a command into a request queue and does not wait.</summary>
    /// <returns>Its tag.</returns>
    public ulong Send(ulong lun, string cdb, byte[]? dataOut = null, int dataInLength = 0, int queue = 0, int responseLength = ResponseLength, int headerLength = HeaderLength)
    {
        var token = ++_lastToken;
        var request = new byte[headerLength + (dataOut?.Length ?? 0)];
        var header = new byte[Math.Max(headerLength, HeaderLength)];
        BinaryPrimitives.WriteUInt64LittleEndian(header, lun);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), token);
        Convert.FromHexString(cdb.Replace(" ", string.Empty, StringComparison.Ordinal)).CopyTo(header, 19);
        header.AsSpan(0, headerLength).CopyTo(request);
        dataOut?.CopyTo(request, headerLength);
        var requestAddress = Ram.Allocate((ulong)request.Length, 1);
        request.CopyTo(Ram.Span(requestAddress, request.Length));
        var answerLength = responseLength + dataInLength;
        var answerAddress = Ram.Allocate((ulong)Math.Max(1, answerLength), 1);
        Ram.Span(answerAddress, answerLength).Fill(0xEE);
        AddAndPublish(
            Queues[queue + 2],
            [.. Pieces(requestAddress, headerLength, request.Length - headerLength)],
            [.. Pieces(answerAddress, responseLength, dataInLength)],
            new Sent(token, answerAddress, responseLength, dataInLength));
        return token;
    }

    /// <summary>Waits for the answer to a command or a function.</summary>
    public byte[] Receive(ulong token, out uint writtenBytes)
    {
        Until(() => Collect(token));
        var sent = _sent[token];
        _sent.Remove(token);
        writtenBytes = sent.WrittenBytes;
        return Ram.Span(sent.Address, sent.ResponseLength + sent.DataLength).ToArray();
    }

    public bool IsAnswered(ulong token) => Collect(token);

    public ScsiAnswer ReceiveAnswer(ulong token)
    {
        var responseLength = _sent[token].ResponseLength;
        var bytes = Receive(token, out var written);
        return new ScsiAnswer(
            written,
            BinaryPrimitives.ReadUInt32LittleEndian(bytes),
            BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(4)),
            bytes[10],
            bytes[11],
            bytes[12..responseLength],
            bytes[responseLength..]);
    }

    public ScsiAnswer Command(byte target, string cdb, byte[]? dataOut = null, int dataInLength = 0, int queue = 0)
        => CommandTo(Lun(target), cdb, dataOut, dataInLength, queue);

    public ScsiAnswer CommandTo(ulong lun, string cdb, byte[]? dataOut = null, int dataInLength = 0, int queue = 0)
        => ReceiveAnswer(Send(lun, cdb, dataOut, dataInLength, queue));

    /// <summary>Takes the unit attention that is pending at first.</summary>
    public ScsiGuest Settle(params byte[] targets)
    {
        foreach (var target in targets)
        {
            Command(target, "00 00 00 00 00 00").Check(6, 0x2900);
        }

        return this;
    }

    public ulong SendFunction(uint function, ulong lun, ulong id = 0)
    {
        var request = new byte[24];
        BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(4), function);
        BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(8), lun);
        BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(16), id);
        return SendControl(request, 1);
    }

    public ulong SendControl(byte[] request, int responseLength)
    {
        var token = ++_lastToken;
        var address = Ram.Allocate((ulong)(request.Length + responseLength), 1);
        request.CopyTo(Ram.Span(address, request.Length));
        var answer = address + (ulong)request.Length;
        Ram.Span(answer, responseLength).Fill(0xEE);
        AddAndPublish(
            Queues[0],
            [new DriverSegment(address, (uint)request.Length)],
            [new DriverSegment(answer, (uint)responseLength)],
            new Sent(token, answer, responseLength, 0));
        return token;
    }

    public byte Function(uint function, ulong lun, ulong id = 0) => Receive(SendFunction(function, lun, id), out _)[0];

    /// <summary>Gives the device a buffer for an event.</summary>
    public ulong PostEventBuffer(int length = 16)
    {
        var token = ++_lastToken;
        var address = Ram.Allocate((ulong)length, 1);
        AddAndPublish(Queues[1], [], [new DriverSegment(address, (uint)length)], new Sent(token, address, length, 0));
        return token;
    }

    /// <summary>Puts a request of any kind into a queue.</summary>
    public ulong SendRaw(int queue, DriverSegment[] readable, DriverSegment[] writable, ulong answerAddress, int answerLength)
    {
        var token = ++_lastToken;
        AddAndPublish(Queues[queue], readable, writable, new Sent(token, answerAddress, answerLength, 0));
        return token;
    }

    public (uint Event, ulong Lun, uint Reason) ReceiveEvent(ulong token)
    {
        var bytes = Receive(token, out var written);
        Assert.Equal(16u, written);
        return (BinaryPrimitives.ReadUInt32LittleEndian(bytes), BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(4)), BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(12)));
    }

    public void Dispose()
    {
        Run(Session.DisposeAsync().AsTask());
        Run(Device.DisposeAsync().AsTask());
        Ram.Dispose();
    }

    private IEnumerable<DriverSegment> Pieces(ulong address, int headerLength, int dataLength)
    {
        if (!JoinsHeaderAndData)
        {
            foreach (var segment in Cut(address, headerLength))
            {
                yield return segment;
            }

            address += (ulong)headerLength;
            headerLength = 0;
        }

        foreach (var segment in Cut(address, headerLength + dataLength))
        {
            yield return segment;
        }
    }

    private IEnumerable<DriverSegment> Cut(ulong address, int length)
    {
        var piece = PieceLength == 0 ? length : PieceLength;
        for (var i = 0; i < length; i += piece)
        {
            yield return new DriverSegment(address + (ulong)i, (uint)Math.Min(piece, length - i));
        }
    }

    private void AddAndPublish(GuestQueue queue, DriverSegment[] readable, DriverSegment[] writable, Sent sent)
    {
        _sent.Add(sent.Token, sent);
        Assert.True(queue.Driver.TryAdd(readable, writable, sent.Token), "the queue is full");
        queue.Driver.Publish();
    }

    private bool Collect(ulong token)
    {
        foreach (var queue in Queues)
        {
            while (queue.Driver.TryGetUsed(out var done, out var written))
            {
                Assert.False(_sent[done].IsDone, "a request was answered twice");
                _sent[done] = _sent[done] with { IsDone = true, WrittenBytes = written };
            }

            Assert.Null(queue.Driver.BrokenReason);
        }

        return _sent[token].IsDone;
    }

    private sealed record Sent(ulong Token, ulong Address, int ResponseLength, int DataLength)
    {
        public bool IsDone { get; init; }

        public uint WrittenBytes { get; init; }
    }
}
