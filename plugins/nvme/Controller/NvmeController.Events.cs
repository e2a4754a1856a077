using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Controller;

/// <summary>What happens while the controller is up: aborts, events, health.</summary>
internal sealed partial class NvmeController
{
    private const int MaxEventsPerTurn = 16;
    private static readonly TimeSpan HealthInterval = TimeSpan.FromSeconds(60);
    private readonly ConcurrentQueue<(int QueueId, int CommandId)> _aborts = new();
    private HealthLog? _health;
    private long _nextHealth;

    /// <inheritdoc/>
    protected override bool HasRequests => !_aborts.IsEmpty;

    /// <inheritdoc/>
    protected override void ForgetRequests() => _aborts.Clear();

    /// <inheritdoc/>
    protected override void ServeOnce()
    {
        WaitForWork();
        // First of all: a controller that has failed answers no abort.
        if (_life!.FatalStatus is { } fatal)
        {
            RequestReset(fatal);
            return;
        }

        while (_aborts.TryDequeue(out var abort))
        {
            Abort(abort.QueueId, abort.CommandId);
        }

        // A bound: a controller that answers each request for events at once must not keep the thread from aborts and from stopping.
        for (var taken = 0; taken < MaxEventsPerTurn && _life.Admin.TryTakeEvent(out var value); taken++)
        {
            HandleEvent(value);
            _life.Admin.RequestEvents(_life.Identity.AsyncEventLimit);
        }

        ReadHealthWhenDue();
    }

    private void ConfigureEvents(ControllerLife life)
    {
        // Critical warnings (bits 4:0), and namespace attribute changes (bit 8) where the controller has them.
        var events = 0x1fu | (life.Identity.AsyncEventsSupported & 0x100);
        var answer = life.Admin.Execute(
            new NvmeCommand { Opcode = NvmeOpcode.SetFeatures, Dword10 = NvmeOpcode.FeatureAsyncEventConfiguration, Dword11 = events }, "Set Features (async events)");
        if (answer.Status != 0)
        {
            Log.LogWarning(NvmeEvents.EventsNotConfigured, "{Address}: the controller does not take the async event configuration: {Status}; health is read every {Seconds} s all the same",
                Address, answer.Describe(), (int)HealthInterval.TotalSeconds);
        }

        life.Admin.RequestEvents(life.Identity.AsyncEventLimit);
        _nextHealth = Stopwatch.GetTimestamp();
    }

    private void HandleEvent(uint value)
    {
        var type = value & 7;
        var information = (value >> 8) & 0xff;
        var page = (value >> 16) & 0xff;
        switch (type)
        {
            case 2 when information == 0:
                // Reading the log lets the event come again; the list itself may be incomplete, so all namespaces are looked at.
                ReadLog(NvmeOpcode.LogChangedNamespaces, 4096, "Changed Namespace List");
                Log.LogInformation(NvmeEvents.NamespacesChanged, "{Address}: namespaces changed", Address);
                _namespaces.Rescan(_life!, Address);
                break;
            case 1:
                ReadHealth();
                break;
            default:
                Log.LogWarning(NvmeEvents.AsyncEvent, "{Address}: async event type {Type}, information 0x{Information:x2}, log page 0x{Page:x2}", Address, type, information, page);
                if (page is NvmeOpcode.LogErrorInformation or NvmeOpcode.LogHealth)
                {
                    ReadLog(page, 512, "log page of an event");
                }

                break;
        }
    }

    private ReadOnlySpan<byte> ReadLog(uint page, int lengthBytes, string name)
    {
        var dwords = (uint)(lengthBytes / 4) - 1;
        _life!.Admin.ExecuteChecked(
            new NvmeCommand { Opcode = NvmeOpcode.GetLogPage, NamespaceId = NvmeOpcode.AllNamespaces, Dword10 = (dwords << 16) | page }, $"Get Log Page ({name})", usesBuffer: true);
        return _life.Admin.Buffer[..lengthBytes];
    }

    private void ReadHealthWhenDue()
    {
        if (Stopwatch.GetTimestamp() >= _nextHealth)
        {
            ReadHealth();
        }
    }

    private void ReadHealth()
    {
        _nextHealth = Stopwatch.GetTimestamp() + (long)(HealthInterval.TotalSeconds * Stopwatch.Frequency);
        var former = _health;
        var health = HealthLog.Decode(ReadLog(NvmeOpcode.LogHealth, HealthLog.LengthBytes, "SMART / Health"));
        Volatile.Write(ref _health, health);
        if (health.CriticalWarning != 0 && health.CriticalWarning != former?.CriticalWarning)
        {
            Log.LogError(NvmeEvents.CriticalWarning, "{Address}: critical warning 0x{Warning:x2}: {Text}; plan to replace the device", Address, health.CriticalWarning, health.DescribeWarnings());
        }

        _namespaces.SetHealth(health);
    }

    private void Abort(int queueId, int commandId)
    {
        Log.LogWarning(NvmeEvents.CommandAborted, "{Address}: aborting command {Command} of queue {Queue}", Address, commandId, queueId);
        // The result says only whether the command was aborted at once; the command itself is completed, or found overdue again.
        _life!.Admin.Execute(new NvmeCommand { Opcode = NvmeOpcode.Abort, Dword10 = ((uint)commandId << 16) | (uint)queueId }, "Abort");
    }

    private Dictionary<string, string> Describe()
    {
        var details = DescribeController();
        if (Volatile.Read(ref _health) is { } health)
        {
            details["critical_warning"] = $"0x{health.CriticalWarning:x2}";
            details["temperature_celsius"] = health.TemperatureCelsius?.ToString(CultureInfo.InvariantCulture) ?? "unknown";
            details["available_spare_percent"] = health.AvailableSparePercent.ToString(CultureInfo.InvariantCulture);
            details["used_percent"] = health.UsedPercent.ToString(CultureInfo.InvariantCulture);
            details["media_errors"] = health.MediaErrorCount.ToString(CultureInfo.InvariantCulture);
        }

        return details;
    }
}
