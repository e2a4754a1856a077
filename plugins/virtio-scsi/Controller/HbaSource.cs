using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Plugins.VirtioScsi.Queues;
using Vhost.Plugins.VirtioScsi.Scsi;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VirtioScsi.Controller;

/// <summary>One HBA as a source of bdevs.</summary>
internal sealed partial class HbaSource : ControllerThread, IRequestQueueOwner
{
    private const int ScsiHostId = 8;
    private static readonly TimeSpan DeadlineInterval = TimeSpan.FromMilliseconds(20);
    private readonly VirtioScsiOptions _options;
    private readonly DiskSet _disks;
    private readonly RequestQueue[] _queues;
    private VirtioPciDevice? _virtio;
    private HbaLife? _life;

    public HbaSource(BdevSourceContext context, VirtioScsiOptions options, IPciDeviceOpener opener)
        : base(
            context,
            new ControllerSettings("virtio-scsi", "HBA", "virtio-scsi device", options.Address, TimeSpan.FromSeconds(options.AttachTimeoutSeconds)),
            opener)
    {
        _options = options;
        _queues = [.. context.Reactors.Select((reactor, index) => new RequestQueue(this, reactor, index, TimeSpan.FromSeconds(options.TimeoutSeconds)))];
        _disks = new DiskSet(context, _queues, DescribeController, FindObstacle);
    }

    /// <inheritdoc/>
    protected override IReadOnlyList<CommandQueue> Queues => _queues;

    /// <inheritdoc/>
    protected override long OwnAnswerCount => _life is { } life ? life.Control.AnswerCount + life.Events.AnswerCount : 0;

    /// <inheritdoc/>
    public void RequestAbort(LogicalUnit unit, ulong tag)
    {
        _aborts.Enqueue((unit, tag));
        Wake();
    }

    /// <inheritdoc/>
    public void StopNow()
    {
        // The queue has memory only while the device is up; it is released after the queue gave it back, on this reactor.
        if (_virtio is not { } virtio)
        {
            return;
        }

        try
        {
            virtio.Reset();
        }
        catch (IOException)
        {
            // The last resort: the function loses the right to do DMA at all. The reset that follows is logged.
            virtio.Device.SetBusMastering(false);
        }
    }

    /// <inheritdoc/>
    public void RequestRescan(int target)
    {
        // One waiting rescan of a target is enough, however many commands ask for it.
        if (!_rescans.Contains(target))
        {
            _rescans.Enqueue(target);
            Wake();
        }
    }

    /// <inheritdoc/>
    public void ReportError(LogicalUnit unit, in ScsiOutcome outcome, BlockOperation operation, ulong startBlock)
    {
        if (MayReportError(out var remark))
        {
            Log.LogError(
                VirtioScsiEvents.HbaCommandFailed, "{Address}: target {Target}, LUN {Lun}: {Operation} at block {Block} failed: {Outcome}{Remark}",
                Address, unit.Target, unit.Lun, operation, startBlock, outcome.Describe(), remark);
        }
    }

    /// <inheritdoc/>
    protected override void Accept(IPciDevice device)
    {
        var virtio = new VirtioPciDevice(device);
        if (virtio.DeviceId != ScsiHostId)
        {
            throw new ControllerRefusal($"{device.Address}: the device is virtio device {virtio.DeviceId}, not a SCSI host ({ScsiHostId})");
        }

        _virtio = virtio;
    }

    /// <inheritdoc/>
    protected override string BringUp(IPciDevice device, CancellationToken cancellationToken)
    {
        // A function that the platform cannot reset may still hold requests of an earlier process.
        _virtio!.Reset();
        device.SetBusMastering(true);
        var life = _life = new HbaLife(_virtio, _queues.Length, _options.QueueSize, VectorCount);
        for (var i = 0; i < _queues.Length; i++)
        {
            var (memory, doorbell) = life.RequestQueues[i];
            StartQueue(
                i, $"{Context.Name} request queue {i}", DeadlineInterval,
                queue => ((RequestQueue)queue).Start(memory, doorbell, device.Dma.WithoutCopiedBars, life.Config.MaxSegments, life.TransferBytes));
        }

        _disks.Scan(Enumerable.Range(0, Math.Min(_options.MaxTargets, life.Config.MaxTarget + 1)), life.Config.MaxLun, cancellationToken);
        return $"virtio-scsi, {life.Format} rings: {_disks.Count} disks";
    }

    /// <summary>Reading the ISR status takes the line down.</summary>
    protected override void SilenceInterrupt() => _virtio?.ReadIsr();

    /// <inheritdoc/>
    protected override void StopController() => _life?.Reset();

    /// <inheritdoc/>
    protected override void EndLife()
    {
        _life?.Dispose();
        _life = null;
    }

    /// <inheritdoc/>
    protected override void WithdrawAll(string reason) => _disks.WithdrawAll(reason);

    // Why there is no point in waiting for a disk's answer any longer. With one interrupt for all, the answer's interrupt comes here, and the
    // reactor that is to take the answer sleeps until it is passed on.
    private string? FindObstacle()
    {
        WaitForAnswer(TimeSpan.Zero);
        return StopToken.IsCancellationRequested ? "the source is stopped"
            : Device is { Removed.IsCancellationRequested: true } ? "the device is gone"
            : ResetReason;
    }
}
