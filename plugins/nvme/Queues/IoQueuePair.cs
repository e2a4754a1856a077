using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>One reactor's I/O queue pair. Everything but the counters is touched on the reactor's thread only.</summary>
internal sealed unsafe partial class IoQueuePair(IQueuePairOwner owner, IReactor reactor, int queueId, TimeSpan timeout)
    : CommandQueue(owner, reactor, $"queue {queueId}", timeout)
{
    private const int ReapBudget = 64;
    private static readonly TimeSpan StopLimit = TimeSpan.FromMilliseconds(500);
    private readonly IQueuePairOwner _owner = owner;
    private QueueMemory? _memory;
    private NvmeRing? _ring;
    private DataMapper? _mapper;
    private IPciDevice? _device;
    private nuint _maxTransferBytes;

    /// <summary>The queue's identifier, from 1.</summary>
    public int QueueId { get; } = queueId;

    /// <summary>Requests flow again, through new queues.</summary>
    public void Start(QueueMemory memory, IPciDevice device, ControllerIdentity identity)
    {
        _memory = memory;
        _ring = memory.Ring;
        _device = device;
        _mapper = new DataMapper(device.Dma, identity.HasSgl, identity.SglNeedsDwords);
        _maxTransferBytes = nuint.Min(DataMapper.MaxTransferBytes, identity.MaxTransferBytes);
        Open(_ring.Capacity, memory.Bounce, device.Dma);
    }

    /// <inheritdoc/>
    public override int Poll()
    {
        var ring = _ring;
        if (ring is null || State != QueueState.Running)
        {
            return 0;
        }

        var count = 0;
        while (count < ReapBudget && ring.TryPop(out var completion))
        {
            count++;
            int id = completion.CommandId;
            if (!IsTaken(id))
            {
                Break($"a completion for command id {id}, which is not outstanding");
                break;
            }

            if (completion.SubmissionQueueId != QueueId)
            {
                Break($"a completion that names submission queue {completion.SubmissionQueueId}");
                break;
            }

            Complete(id, completion);
        }

        if (count != 0)
        {
            ring.AnnounceCompletions();
        }

        return EndPoll(count);
    }

    /// <inheritdoc/>
    public override bool TryArm()
    {
        // Interrupts stay enabled in the completion queue; all there is to do is to open a masked INTx line, and to look once more.
        _memory?.Interrupt.Arm();
        // Store-load: pairs with the controller writing the completion before it raises the interrupt.
        Interlocked.MemoryBarrier();
        return State != QueueState.Running || _ring is not { HasCompletion: true };
    }

    /// <inheritdoc/>
    public override void Disarm()
    {
    }

    /// <inheritdoc/>
    protected override void AskForAbort(int index) => _owner.RequestAbort(this, index);

    /// <inheritdoc/>
    protected override void StopController()
    {
        if (!_ring!.TryStopController(StopLimit))
        {
            // The last resort: the function loses the right to do DMA at all.
            _device!.SetBusMastering(false);
        }
    }

    /// <inheritdoc/>
    protected override void LetGo()
    {
        _ring = null;
        _memory = null;
        _mapper = null;
        _device = null;
    }

    private void Complete(int id, in NvmeCompletion completion)
    {
        ref var slot = ref Slot(id);
        if (slot.IsOrphan)
        {
            Free(id);
            return;
        }

        var status = completion.ToBlockStatus();
        ulong information = 0;
        switch (status)
        {
            case BlockStatus.Success:
                TakeBouncedData(ref slot);
                break;
            case BlockStatus.Miscompare:
                // The controller does not say where; the start of the command's range is as near as it gets.
                information = slot.BlockOffset * ((NvmeChannel)ChannelOf(slot.Request)).BlockSizeBytes;
                break;
            case BlockStatus.IoError:
                _owner.ReportError(completion, slot.Request->Operation, slot.Request->StartBlock + slot.BlockOffset);
                break;
            default:
                break;
        }

        Finish(id, status, information);
    }
}
