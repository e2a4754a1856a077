using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Controller;

/// <summary>What happens while the controller is up, and how it goes down.</summary>
internal sealed partial class NvmeController
{
    private const int ResetAttempts = 3;
    private const int MaxEventsPerTurn = 16;
    private static readonly TimeSpan ShutdownLimit = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan PolledInterval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan StatusInterval = TimeSpan.FromSeconds(1);
    private EventFd[]? _forwarded;

    // Serves until the controller is stopped or gone. A failure on the way leads to a reset; resets that fail lead out.
    private void Serve()
    {
        while (!_stop.IsCancellationRequested && !_device!.Removed.IsCancellationRequested)
        {
            try
            {
                // A wake-up that came during an admin command was taken by the wait for its answer: what it was about is still there.
                Wait(!_aborts.IsEmpty || Volatile.Read(ref _resetReason) is not null ? TimeSpan.Zero : _vectors.Count == 0 ? PolledInterval : StatusInterval);
                // First of all: a controller that has failed answers no abort, which would be waited for, and named instead of what it reports.
                var fatal = _life!.FatalStatus;
                while (fatal is null && _aborts.TryDequeue(out var abort))
                {
                    Abort(abort.QueueId, abort.CommandId);
                }

                // A bound: a controller that answers each request for events at once must not keep the thread from aborts and from stopping.
                for (var taken = 0; fatal is null && taken < MaxEventsPerTurn && _life.Admin.TryTakeEvent(out var value); taken++)
                {
                    HandleEvent(value);
                    _life.Admin.RequestEvents(_life.Identity.AsyncEventLimit);
                }

                if (fatal is null)
                {
                    ReadHealthWhenDue();
                }
                else
                {
                    RequestReset(fatal);
                }
            }
            catch (NvmeFailure failure)
            {
                RequestReset(failure.Message);
            }

            if (Interlocked.Exchange(ref _resetReason, null) is { } reason && !_device.Removed.IsCancellationRequested && !TryReset(reason))
            {
                return;
            }
        }
    }

    // Sleeps until an interrupt of the admin queue, a message from a reactor, or the time given. False if the device is gone or the source stops.
    private bool Wait(TimeSpan limit)
    {
        var descriptor = _vectors.Count == 0 ? -1 : _vectors[0];
        using (var epoll = Epoll.Create())
        {
            epoll.Add(_wake.Raw, EpollEvents.In, 0);
            if (descriptor >= 0)
            {
                epoll.Add(descriptor, EpollEvents.In, 1);
            }

            Span<EpollEvent> reports = stackalloc EpollEvent[2];
            // Without an interrupt an admin command is polled for.
            var milliseconds = descriptor >= 0 ? (int)Math.Ceiling(limit.TotalMilliseconds) : Math.Min((int)Math.Ceiling(limit.TotalMilliseconds), 2);
            epoll.Wait(reports, milliseconds);
        }

        _wake.Drain();
        if (descriptor >= 0 && EventFd.DrainRaw(descriptor) != 0)
        {
            // One line for all: silence it, wake every reactor, and let it come again when one of them sleeps. Also before there are I/O queues: a line
            // that the kernel switched off at an interrupt stays off until it is switched on.
            if (_device!.IsLevelTriggered)
            {
                _life?.MaskInterrupt();
                _device.UnmaskInterrupt();
            }

            foreach (var forwarded in _forwarded ?? [])
            {
                forwarded.Signal();
            }
        }

        if (descriptor >= 0 && _device!.IsLevelTriggered)
        {
            _life?.UnmaskInterrupt();
        }

        return _device is not { Removed.IsCancellationRequested: true };
    }

    private void ConfigureEvents(ControllerLife life)
    {
        // Critical warnings (bits 4:0), and namespace attribute changes (bit 8) where the controller has them.
        var events = 0x1fu | (life.Identity.AsyncEventsSupported & 0x100);
        var answer = life.Admin.Execute(
            new NvmeCommand { Opcode = NvmeOpcode.SetFeatures, Dword10 = NvmeOpcode.FeatureAsyncEventConfiguration, Dword11 = events }, "Set Features (async events)");
        if (answer.Status != 0)
        {
            _log.LogWarning("{Address}: the controller does not take the async event configuration: {Status}; health is read every {Seconds} s all the same",
                _options.Address, answer.Describe(), (int)HealthInterval.TotalSeconds);
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
                _log.LogInformation("{Address}: namespaces changed", _options.Address);
                _namespaces.Rescan(_life!, _options.Address);
                break;
            case 1:
                ReadHealth();
                break;
            default:
                _log.LogWarning("{Address}: async event type {Type}, information 0x{Information:x2}, log page 0x{Page:x2}", _options.Address, type, information, page);
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
            _log.LogError("{Address}: critical warning 0x{Warning:x2}: {Text}; plan to replace the device", _options.Address, health.CriticalWarning, health.DescribeWarnings());
        }

        _namespaces.SetHealth(health);
    }

    private void Abort(int queueId, int commandId)
    {
        _log.LogWarning("{Address}: aborting command {Command} of queue {Queue}", _options.Address, commandId, queueId);
        // The result says only whether the command was aborted at once; the command itself is completed, or found overdue again.
        _life!.Admin.Execute(new NvmeCommand { Opcode = NvmeOpcode.Abort, Dword10 = ((uint)commandId << 16) | (uint)queueId }, "Abort");
    }

    private bool TryReset(string reason)
    {
        _log.LogError("{Address}: resetting the controller: {Reason}", _options.Address, reason);
        _wasReset = true;
        for (var i = 0; i < _pairs.Length; i++)
        {
            OnReactor(i, pair => pair.Freeze());
        }

        for (var attempt = 1; attempt <= ResetAttempts && !_stop.IsCancellationRequested && !_device!.Removed.IsCancellationRequested; attempt++)
        {
            try
            {
                StopDma();
                // The controller is disabled: what was outstanding has no effect on memory any more, and its outcome is unknown.
                for (var i = 0; i < _pairs.Length; i++)
                {
                    OnReactor(i, pair => pair.FailOutstanding(BlockStatus.TimedOut));
                }

                _aborts.Clear();
                _life?.Dispose();
                _life = null;
                BringUp(_device);
                _log.LogWarning("{Address}: the controller is back after a reset", _options.Address);
                return true;
            }
            catch (NvmeRefusal refusal)
            {
                _log.LogError("{Address}: the controller cannot be used after its reset: {Error}", _options.Address, refusal.Message);
                return false;
            }
            catch (IOException failure)
            {
                _log.LogError("{Address}: reset attempt {Attempt} of {Attempts} failed: {Error}", _options.Address, attempt, ResetAttempts, failure.Message);
            }
        }

        return false;
    }

    // Ends all DMA of the device: by CC.EN, else by a function reset, else by taking bus mastering away.
    private void StopDma()
    {
        try
        {
            _life?.Disable();
        }
        catch (IOException failure)
        {
            _log.LogWarning("{Error}; resetting the function", failure.Message);
            if (!_device!.TryReset())
            {
                _device.SetBusMastering(false);
                throw;
            }
        }
    }

    private void Detach(BlockStatus status, string reason, bool orderly = false)
    {
        var device = _device;
        _namespaces.WithdrawAll(reason);
        if (orderly && _life is { } life && device is { Removed.IsCancellationRequested: false })
        {
            var limit = life.Identity.ShutdownTime is { } time && time < ShutdownLimit ? time + TimeSpan.FromMilliseconds(500) : ShutdownLimit;
            if (!life.TryShutDown(limit))
            {
                _log.LogWarning("{Address}: the controller did not confirm the shutdown within {Seconds:0.#} s", _options.Address, limit.TotalSeconds);
            }
        }

        try
        {
            if (device is { Removed.IsCancellationRequested: false })
            {
                StopDma();
            }
        }
        catch (IOException failure)
        {
            _log.LogError("{Error}; bus mastering was taken away", failure.Message);
        }

        for (var i = 0; i < _pairs.Length; i++)
        {
            var index = i;
            OnReactor(i, pair =>
            {
                // While a re-attach is possible, requests that come in the meantime fail at once: the bdevs are withdrawn anyway.
                pair.Kill(status);
                pair.Registration?.Dispose();
                pair.Registration = null;
                _timers[index]?.Dispose();
                _timers[index] = null;
            });
        }

        ReleaseDevice();
    }

    private void ReleaseDevice()
    {
        _memory?.Dispose();
        _memory = null;
        _life?.Dispose();
        _life = null;
        _device?.Dispose();
        _device = null;
        _vectors = [];
        foreach (var forwarded in _forwarded ?? [])
        {
            forwarded.Dispose();
        }

        _forwarded = null;
    }

    private Dictionary<string, string> Describe()
    {
        var details = new Dictionary<string, string>
        {
            ["pci_address"] = _options.Address,
            ["commands"] = _pairs.Sum(pair => pair.CommandCount).ToString(CultureInfo.InvariantCulture),
            ["bounced_commands"] = _pairs.Sum(pair => pair.BouncedCommandCount).ToString(CultureInfo.InvariantCulture),
            ["was_reset"] = _wasReset ? "true" : "false",
        };
        if (Volatile.Read(ref _health) is { } health)
        {
            details["critical_warning"] = $"0x{health.CriticalWarning:x2}";
            details["temperature_celsius"] = (health.TemperatureKelvin - 273).ToString(CultureInfo.InvariantCulture);
            details["available_spare_percent"] = health.AvailableSparePercent.ToString(CultureInfo.InvariantCulture);
            details["used_percent"] = health.UsedPercent.ToString(CultureInfo.InvariantCulture);
            details["media_errors"] = health.MediaErrorCount.ToString(CultureInfo.InvariantCulture);
        }

        return details;
    }
}
