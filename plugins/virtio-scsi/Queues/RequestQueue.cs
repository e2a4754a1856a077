using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Plugins.VirtioScsi.Scsi;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VirtioScsi.Queues;

/// <summary>
/// One reactor's request queue. Everything but the counters is touched on the reactor's thread only. A command that the target puts off is sent
/// again, a bounded number of times.
/// </summary>
internal sealed unsafe partial class RequestQueue(IRequestQueueOwner owner, IReactor reactor, int index, TimeSpan timeout)
    : CommandQueue(owner, reactor, $"request queue {index}", timeout)
{
    private const int ReapBudget = 64;
    private const int MaxRetries = 10;
    private readonly IRequestQueueOwner _owner = owner;
    private readonly Queue<ScsiExchange> _exchanges = new();
    private ScsiCommand[] _commands = [];
    private QueueMemory? _memory;
    private VirtioPciQueue? _doorbell;
    private IDmaDomain? _dma;
    private int _maxSegments;
    private nuint _maxTransferBytes;

    /// <summary>Requests flow, through a new ring.</summary>
    public void Start(QueueMemory memory, VirtioPciQueue doorbell, IDmaDomain dma, int maxSegments, nuint maxTransferBytes)
    {
        _memory = memory;
        _doorbell = doorbell;
        _dma = dma;
        _maxSegments = maxSegments;
        _maxTransferBytes = maxTransferBytes;
        var count = memory.Ring.UsesIndirect ? memory.Ring.Size : Math.Max(1, memory.Ring.Size / (maxSegments + 2));
        _commands = new ScsiCommand[count];
        memory.Ring.DisableInterrupts();
        Open(count, memory.Bounce!, dma);
    }

    /// <summary>Takes a command of the driver's own.</summary>
    public void Submit(ScsiExchange exchange)
    {
        if (State == QueueState.Dead)
        {
            exchange.Complete(ScsiOutcome.Lost, []);
            return;
        }

        _exchanges.Enqueue(exchange);
        Pump();
        Activate();
    }

    /// <inheritdoc/>
    public override int Poll()
    {
        if (_memory is null || State != QueueState.Running)
        {
            return 0;
        }

        var ring = _memory.Ring;
        var count = 0;
        while (count < ReapBudget && ring.TryGetUsed(out var token, out var written))
        {
            count++;
            Complete((int)(uint)token, written);
        }

        if (ring.BrokenReason is { } reason)
        {
            Break(reason);
        }

        return EndPoll(count);
    }

    /// <inheritdoc/>
    public override bool TryArm() => State != QueueState.Running || _memory is null || _memory.Ring.TryEnableInterrupts();

    /// <inheritdoc/>
    public override void Disarm() => _memory?.Ring.DisableInterrupts();

    /// <summary>Called every so often: sends again what was put off, and finds commands that were not answered in time.</summary>
    public override void CheckDeadlines()
    {
        if (State == QueueState.Running && TakenCount != 0)
        {
            SendAgain();
            base.CheckDeadlines();
        }
    }

    /// <inheritdoc/>
    protected override void AskForAbort(int index) => _owner.RequestAbort(_commands[index].Unit, TagOf(index));

    /// <inheritdoc/>
    protected override void StopController() => _owner.StopNow();

    /// <inheritdoc/>
    protected override void LoseCommands()
    {
        for (var i = 0; i < SlotCount; i++)
        {
            if (IsTaken(i) && _commands[i].Exchange is { } exchange)
            {
                FreeExchange(i);
                exchange.Complete(ScsiOutcome.Lost, []);
            }
        }
    }

    /// <inheritdoc/>
    protected override void LetGo()
    {
        _commands = [];
        _memory = null;
        _doorbell = null;
        _dma = null;
        while (_exchanges.TryDequeue(out var waiting))
        {
            waiting.Complete(ScsiOutcome.Lost, []);
        }
    }

    private void SendAgain()
    {
        var now = Reactor.Timestamp;
        var isSent = false;
        for (var i = 0; i < SlotCount; i++)
        {
            ref var slot = ref Slot(i);
            if (slot.IsTaken && slot.Deadline == CommandSlot.PutOff && now - _commands[i].RetryAt >= 0)
            {
                MarkIssued(ref slot);
                isSent |= Send(i);
            }
        }

        if (isSent && _memory!.Ring.Publish())
        {
            _doorbell!.Notify();
        }
    }

    // A tag is never 0 and differs between two uses of a slot, so that an abort that comes late hits nothing else.
    private ulong TagOf(int index) => ((ulong)_commands[index].Generation << 32) | (uint)(index + 1);

    private void FreeExchange(int index)
    {
        _commands[index].Exchange = null;
        Free(index);
    }

    private void Complete(int index, uint written)
    {
        ref var slot = ref Slot(index);
        if (slot.IsOrphan)
        {
            Free(index);
            return;
        }

        var page = _memory!.Pages.Page(index, out _);
        // SAFETY: the response lies within the command's page; the device has given it back.
        var outcome = *(ScsiOutcome*)(page + QueueMemory.ResponseOffset);
        // A device that counts what it wrote and wrote less than a response gave none. Some devices (the kernel's vhost-scsi) do not
        // count and say 0: for those, the response FAILURE that Send left there shows a response that was not written.
        if (written is > 0 and < 12)
        {
            outcome = ScsiOutcome.Lost;
        }

        ref var command = ref _commands[index];
        if (command.Exchange is { } exchange)
        {
            FreeExchange(index);
            var length = outcome.ResidualBytes <= (uint)exchange.DataInBytes ? exchange.DataInBytes - (int)outcome.ResidualBytes : 0;
            exchange.Complete(outcome, new ReadOnlySpan<byte>(page + QueueMemory.DataOffset, length).ToArray());
            return;
        }

        var request = slot.Request;
        var verdict = outcome.IsGood ? default : outcome.Judge();
        if (verdict.HasCapacityChanged || verdict.HasInventoryChanged)
        {
            _owner.RequestRescan(command.Unit.Target);
        }

        if (verdict.CanRetry && command.RetryCount < MaxRetries && !RequestProgress.Of(request).IsAborted)
        {
            // At once the first time (a unit attention tells something once), then after a growing pause.
            var milliseconds = command.RetryCount == 0 ? 0 : 10L << Math.Min(command.RetryCount, 7);
            command.RetryCount++;
            command.RetryAt = Reactor.Timestamp + (milliseconds * Stopwatch.Frequency / 1000);
            slot.Deadline = CommandSlot.PutOff;
            return;
        }

        var status = verdict.Status == BlockStatus.Busy ? BlockStatus.IoError : verdict.Status;
        if (status == BlockStatus.Success)
        {
            TakeBouncedData(ref slot);
        }
        else if (status == BlockStatus.IoError)
        {
            _owner.ReportError(command.Unit, outcome, request->Operation, request->StartBlock + slot.BlockOffset);
        }

        Finish(index, status, 0);
    }
}
