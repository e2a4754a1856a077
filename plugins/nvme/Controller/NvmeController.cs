using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;
using Vhost.Plugins.Nvme.Queues;

namespace Vhost.Plugins.Nvme.Controller;

/// <summary>One controller as a source of bdevs.</summary>
internal sealed partial class NvmeController : ControllerThread, IQueuePairOwner
{
    private const uint ClassCode = 0x010802;
    private static readonly TimeSpan AdminTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan ShutdownLimit = TimeSpan.FromSeconds(3);
    private readonly NvmeOptions _options;
    private readonly NamespaceSet _namespaces;
    private readonly IoQueuePair[] _pairs;
    private ControllerLife? _life;

    public NvmeController(BdevSourceContext context, NvmeOptions options, IPciDeviceOpener opener)
        : base(
            context,
            new ControllerSettings("nvme", "controller", "NVMe controller", options.Address, TimeSpan.FromSeconds(options.AttachTimeoutSeconds)),
            opener)
    {
        _options = options;
        _pairs = [.. context.Reactors.Select((reactor, index) => new IoQueuePair(this, reactor, index + 1, TimeSpan.FromSeconds(options.TimeoutSeconds)))];
        _namespaces = new NamespaceSet(context, _pairs, Describe);
    }

    /// <inheritdoc/>
    protected override IReadOnlyList<CommandQueue> Queues => _pairs;

    /// <inheritdoc/>
    protected override long OwnAnswerCount => _life?.AdminAnswerCount ?? 0;

    /// <inheritdoc/>
    public void RequestAbort(IoQueuePair pair, int commandId)
    {
        _aborts.Enqueue((pair.QueueId, commandId));
        Wake();
    }

    /// <inheritdoc/>
    public void ReportError(in NvmeCompletion completion, BlockOperation operation, ulong startBlock)
    {
        if (MayReportError(out var remark))
        {
            Log.LogError(NvmeEvents.CommandFailed, "{Address}: {Operation} at block {Block} failed: {Status}{Remark}", Address, operation, startBlock, completion.Describe(), remark);
        }
    }

    /// <inheritdoc/>
    protected override void Accept(IPciDevice device)
    {
        if (device.Identity.ClassCode != ClassCode)
        {
            throw new ControllerRefusal($"{device.Address}: the class code is 0x{device.Identity.ClassCode:x6}, not that of an NVMe controller (0x{ClassCode:x6})");
        }
    }

    /// <inheritdoc/>
    protected override string BringUp(IPciDevice device, CancellationToken cancellationToken)
    {
        var life = _life = new ControllerLife(device, WaitForAnswer);
        life.Enable(AdminTimeout);
        life.CreateQueues(_pairs.Length, _options.QueueSize, CreateInterrupts(device));
        ConfigureEvents(life);
        // What is published is used at once: its requests wait until the queue pairs run, and do not fail any more.
        OnReactors(static pair => pair.Revive());
        _namespaces.Rescan(life, device.Address);
        var deadlineInterval = TimeSpan.FromMilliseconds(Math.Clamp(_options.TimeoutSeconds * 1000 / 8, 50, 1000));
        for (var i = 0; i < _pairs.Length; i++)
        {
            var memory = life.Queues[i];
            StartQueue(
                i, $"{Context.Name} queue pair {_pairs[i].QueueId}", deadlineInterval, pair => ((IoQueuePair)pair).Start(memory, device, life.Identity));
        }

        return $"{life.Identity.ModelNumber}, serial {life.Identity.SerialNumber}, firmware {life.Identity.FirmwareRevision}: {_namespaces.Count} namespaces";
    }

    /// <inheritdoc/>
    protected override void SilenceInterrupt() => _life?.MaskInterrupt();

    /// <inheritdoc/>
    protected override void OpenInterrupt() => _life?.UnmaskInterrupt();

    /// <inheritdoc/>
    protected override void StopController() => _life?.Disable();

    /// <inheritdoc/>
    protected override void EndLife()
    {
        _life?.Dispose();
        _life = null;
    }

    /// <inheritdoc/>
    protected override void WithdrawAll(string reason) => _namespaces.WithdrawAll(reason);

    /// <inheritdoc/>
    protected override void ShutDown()
    {
        if (_life is not { } life)
        {
            return;
        }

        var limit = life.Identity?.ShutdownTime is { } time && time < ShutdownLimit ? time + TimeSpan.FromMilliseconds(500) : ShutdownLimit;
        if (!life.TryShutDown(limit))
        {
            Log.LogWarning(NvmeEvents.ShutdownNotConfirmed, "{Address}: the controller did not confirm the shutdown within {Seconds:0.#} s", Address, limit.TotalSeconds);
        }
    }

    private QueueInterrupt[] CreateInterrupts(IPciDevice device)
    {
        var hasOwn = VectorCount == _pairs.Length + 1;
        var masked = VectorCount == 1 && device.IsLevelTriggered ? device.OpenBar(0) : null;
        return [.. _pairs.Select((_, index) => new QueueInterrupt(VectorCount != 0, hasOwn ? index + 1 : 0, masked))];
    }
}
