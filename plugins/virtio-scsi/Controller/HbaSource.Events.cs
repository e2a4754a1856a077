using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using Vhost.BlockController;
using Vhost.Plugins.VirtioScsi.Scsi;

namespace Vhost.Plugins.VirtioScsi.Controller;

/// <summary>What happens while the HBA is up: aborts, events, rescans.</summary>
internal sealed partial class HbaSource
{
    private const int MaxEventsPerTurn = 16;
    private static readonly TimeSpan TmfLimit = TimeSpan.FromSeconds(5);
    private readonly ConcurrentQueue<(LogicalUnit Unit, ulong Tag)> _aborts = new();
    private readonly ConcurrentQueue<int> _rescans = new();

    /// <inheritdoc/>
    protected override bool HasRequests => !_aborts.IsEmpty || !_rescans.IsEmpty;

    /// <inheritdoc/>
    protected override void ForgetRequests() => _aborts.Clear();

    /// <inheritdoc/>
    protected override void ServeOnce()
    {
        if (_life!.Events.TryArm())
        {
            WaitForWork();
        }

        // First of all: an HBA that has failed answers no abort.
        if (_life.FatalStatus is { } fatal)
        {
            RequestReset(fatal);
            return;
        }

        while (_aborts.TryDequeue(out var abort))
        {
            Log.LogWarning(VirtioScsiEvents.HbaCommandAborted, "{Address}: aborting a command of target {Target}, LUN {Lun}", Address, abort.Unit.Target, abort.Unit.Lun);
            if (_life.Control.Execute(ControlQueue.AbortTask, abort.Unit, abort.Tag, TmfLimit, WaitForAnswer) is null)
            {
                throw new ControllerFailure($"{Address}: the task management function to abort a command was not answered within {TmfLimit.TotalSeconds} s");
            }
        }

        // A bound: an HBA that gives each buffer for events back at once must not keep the thread from aborts and from stopping.
        for (var taken = 0; taken < MaxEventsPerTurn && _life.Events.TryTake(out var kind, out var target, out var reason); taken++)
        {
            HandleEvent(kind, target, reason);
        }

        while (_rescans.TryDequeue(out var target))
        {
            Scan([target]);
        }
    }

    private void HandleEvent(uint kind, int target, uint reason)
    {
        if ((kind & EventQueue.EventsMissed) != 0)
        {
            Log.LogWarning(VirtioScsiEvents.HbaEventsMissed, "{Address}: events were missed; scanning everything", Address);
            Scan(Enumerable.Range(0, Math.Min(_options.MaxTargets, _life!.Config.MaxTarget + 1)));
        }

        switch (kind & ~EventQueue.EventsMissed)
        {
            case EventQueue.TransportReset or EventQueue.ParameterChange when target >= 0:
                Log.LogInformation(
                    VirtioScsiEvents.HbaEvent, "{Address}: target {Target}: {Event} (reason 0x{Reason:x})", Address, target,
                    (kind & 3) == EventQueue.TransportReset ? "disks came or went" : "a disk changed", reason);
                Scan([target]);
                break;
            default:
                break;
        }
    }

    private void Scan(IEnumerable<int> targets) => _disks.Scan(targets.Where(target => target < _options.MaxTargets), _life!.Config.MaxLun, StopToken);
}
