using System.Diagnostics;
using System.Runtime.InteropServices;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.Scsi.Tests;

/// <summary>An initiator in this process: sends CDBs to a target of its own, over buffers with guards around them, in pieces of any size.</summary>
public sealed unsafe class Initiator : IBdevCompletions, ICopyScope, IDisposable
{
    private const byte Guard = 0xA5;
    private const int GuardLength = 64;

    private readonly DeviceServer _server;
    private readonly IBdevChannel _channel;
    private readonly ScsiTask* _task = (ScsiTask*)NativeMemory.AllocZeroed((nuint)sizeof(ScsiTask));
    private int _completed;

    public Initiator(LogicalUnitRegistry registry, MemoryBdevPort port, string name = "initiator", ILogicalUnitListener? listener = null, string identity = "machine", ReservationStore? store = null, string? portName = null)
    {
        _server = new DeviceServer(this);
        Target = new ScsiTarget(registry, portName ?? name + ":0", name, identity, store);
        Nexus = Target.Attach(0, port, listener);
        _channel = port.OpenChannel(new ManualReactor(), this);
    }

    public ScsiTarget Target { get; }

    public ItlNexus Nexus { get; }

    /// <summary>Buffers are cut into pieces of this length.</summary>
    public int PieceLength { get; set; } = 4096;

    /// <summary>The same initiator at its other targets: among them it copies.</summary>
    public List<Initiator> Others { get; } = [];

    IEnumerable<ScsiTarget> ICopyScope.Targets => Others.Prepend(this).Select(one => one.Target);

    /// <summary>Whether a task management function aborts the command that runs.</summary>
    public bool IsAborting { get; set; }

    /// <summary>Called after each step of a command, with the block request that was done.</summary>
    public Action? AfterStep { get; set; }

    public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests) => _completed += requests.Length;

    public CommandResult Run(string cdb, byte[]? dataOut = null, int dataInLength = 0)
        => Run(Convert.FromHexString(cdb.Replace(" ", string.Empty, StringComparison.Ordinal)), dataOut, dataInLength);

    public CommandResult Run(byte[] cdb, byte[]? dataOut = null, int dataInLength = 0, int lun = 0)
    {
        dataOut ??= [];
        using var output = new GuardedBuffer(dataOut.Length, PieceLength);
        using var input = new GuardedBuffer(dataInLength, PieceLength);
        dataOut.CopyTo(output.Data);
        input.Data.Fill(0xEE);
        var cdbBytes = ScsiTask.CdbOf(_task);
        cdbBytes.Clear();
        cdb.AsSpan(0, Math.Min(cdb.Length, 32)).CopyTo(cdbBytes);
        _task->CdbLengthBytes = 32;
        _task->DataOut = output.Segments;
        _task->DataOutCount = output.SegmentCount;
        _task->DataOutLengthBytes = (ulong)dataOut.Length;
        _task->DataIn = input.Segments;
        _task->DataInCount = input.SegmentCount;
        _task->DataInLengthBytes = (ulong)dataInLength;

        _server.Now = Stopwatch.GetTimestamp();
        var nexus = Target.Find(lun);
        var action = nexus is null ? _server.BeginUnattached(Target, _task) : _server.Begin(nexus, _task);
        for (var steps = 0; action is ScsiAction.Submit or ScsiAction.SubmitElsewhere; steps++)
        {
            Assert.True(steps < 100_000, "the command does not end");
            var unit = action == ScsiAction.Submit ? nexus! : _server.UnitOf(_task);
            var at = Others.Prepend(this).FirstOrDefault(one => one.Nexus == unit);
            if (at is null)
            {
                _task->Block.Status = BlockStatus.NoDevice;
            }
            else
            {
                at._completed = 0;
                var pointer = new BlockRequestPointer(&_task->Block);
                at._channel.Submit(new ReadOnlySpan<BlockRequestPointer>(in pointer));
                Assert.Equal(1, at._completed);
            }

            AfterStep?.Invoke();
            _task->IsAborted = IsAborting;
            _server.Now = Stopwatch.GetTimestamp();
            action = _server.Continue(nexus!, _task);
        }

        if (action == ScsiAction.Wait)
        {
            using var isDone = new ManualResetEventSlim();
            var wait = _server.TakeWait();
            wait.Start(isDone.Set);
            Assert.True(isDone.Wait(TimeSpan.FromSeconds(60)), "the command does not end");
            DeviceServer.EndWait(wait, _task);
        }

        output.CheckGuards();
        input.CheckGuards();
        Assert.Equal(dataOut, output.Data.ToArray());
        return new CommandResult(_task->Response, _task->Status, ScsiTask.SenseOf(_task).ToArray(), input.Data.ToArray(), _task->TransferredBytes);
    }

    /// <summary>Takes the unit attention that is pending at first.</summary>
    public Initiator Settle()
    {
        Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.PowerOnOrReset);
        return this;
    }

    public void Dispose()
    {
        _channel.Dispose();
        _server.Dispose();
        Target.Dispose();
        NativeMemory.Free(_task);
    }

    private sealed class GuardedBuffer : IDisposable
    {
        private readonly byte* _memory;
        private readonly int _length;

        public GuardedBuffer(int length, int pieceLength)
        {
            _length = length;
            _memory = (byte*)NativeMemory.Alloc((nuint)(length + (2 * GuardLength)));
            new Span<byte>(_memory, length + (2 * GuardLength)).Fill(Guard);
            SegmentCount = (length + pieceLength - 1) / pieceLength;
            Segments = (IoSegment*)NativeMemory.Alloc((nuint)Math.Max(1, SegmentCount), (nuint)sizeof(IoSegment));
            for (var i = 0; i < SegmentCount; i++)
            {
                Segments[i] = new IoSegment(_memory + GuardLength + (i * pieceLength), (nuint)Math.Min(pieceLength, length - (i * pieceLength)));
            }
        }

        public IoSegment* Segments { get; }

        public int SegmentCount { get; }

        public Span<byte> Data => new(_memory + GuardLength, _length);

        public void CheckGuards()
        {
            Assert.True(new ReadOnlySpan<byte>(_memory, GuardLength).IndexOfAnyExcept(Guard) < 0, "something was written before the buffer");
            Assert.True(new ReadOnlySpan<byte>(_memory + GuardLength + _length, GuardLength).IndexOfAnyExcept(Guard) < 0, "something was written behind the buffer");
        }

        public void Dispose()
        {
            NativeMemory.Free(_memory);
            NativeMemory.Free(Segments);
        }
    }
}
