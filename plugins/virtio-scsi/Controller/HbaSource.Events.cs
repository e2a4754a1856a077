using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Plugins.VirtioScsi.Controller;

/// <summary>What happens while the HBA is up, and how it goes down.</summary>
internal sealed partial class HbaSource
{
    private const int ResetAttempts = 3;
    private const int MaxEventsPerTurn = 16;
    private static readonly TimeSpan PolledInterval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan StatusInterval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan TmfLimit = TimeSpan.FromSeconds(5);

    // Serves until the source is stopped or the device gone. A failure on the way leads to a reset; resets that fail lead out.
    private void Serve()
    {
        while (!_stop.IsCancellationRequested && !_device!.Removed.IsCancellationRequested)
        {
            try
            {
                if (_life!.Events.TryArm())
                {
                    // A wake-up that came during a command was taken by the wait for its answer: what it was about is still there.
                    var isWanted = !_aborts.IsEmpty || !_rescans.IsEmpty || Volatile.Read(ref _resetReason) is not null;
                    Wait(isWanted ? TimeSpan.Zero : _vectors.Count == 0 ? PolledInterval : StatusInterval);
                }

                while (_aborts.TryDequeue(out var abort))
                {
                    _log.LogWarning("{Address}: aborting a command of target {Target}, LUN {Lun}", _options.Address, abort.Unit.Target, abort.Unit.Lun);
                    if (_life.Control.Execute(ControlQueue.AbortTask, abort.Unit, abort.Tag, TmfLimit, Wait) is null)
                    {
                        throw new HbaFailure($"{_options.Address}: the task management function to abort a command was not answered within {TmfLimit.TotalSeconds} s");
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

                if (_life.FatalStatus is { } fatal)
                {
                    RequestReset(fatal);
                }
            }
            catch (Exception failure) when (failure is IOException)
            {
                RequestReset(failure.Message);
            }

            if (Interlocked.Exchange(ref _resetReason, null) is { } why && !_device.Removed.IsCancellationRequested && !TryReset(why))
            {
                return;
            }
        }
    }

    private void HandleEvent(uint kind, int target, uint reason)
    {
        if ((kind & EventQueue.EventsMissed) != 0)
        {
            _log.LogWarning("{Address}: events were missed; scanning everything", _options.Address);
            Scan(Enumerable.Range(0, Math.Min(_options.MaxTargets, _life!.Config.MaxTarget + 1)));
        }

        switch (kind & ~EventQueue.EventsMissed)
        {
            case EventQueue.TransportReset or EventQueue.ParameterChange when target >= 0:
                _log.LogInformation(
                    "{Address}: target {Target}: {Event} (reason 0x{Reason:x})", _options.Address, target,
                    (kind & 3) == EventQueue.TransportReset ? "disks came or went" : "a disk changed", reason);
                Scan([target]);
                break;
            default:
                break;
        }
    }

    private void Scan(IEnumerable<int> targets) => _disks.Scan(targets.Where(target => target < _options.MaxTargets), _life!.Config.MaxLun, _stop.Token);

    // Sleeps until an interrupt of the first vector, a message from a reactor, or the time given. False if the device is gone.
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
            var milliseconds = (int)Math.Ceiling(limit.TotalMilliseconds);
            epoll.Wait(reports, descriptor >= 0 ? milliseconds : Math.Min(milliseconds, 5));
        }

        _wake.Drain();
        if (descriptor >= 0 && EventFd.DrainRaw(descriptor) != 0 && _forwarded is not null)
        {
            if (_device!.IsLevelTriggered)
            {
                // Reading the ISR status silences the line.
                _virtio?.ReadIsr();
                _device.UnmaskInterrupt();
            }

            foreach (var forwarded in _forwarded)
            {
                forwarded.Signal();
            }
        }

        return _device is not { Removed.IsCancellationRequested: true };
    }

    private bool TryReset(string reason)
    {
        _log.LogError("{Address}: resetting the HBA: {Reason}", _options.Address, reason);
        _wasReset = true;
        for (var i = 0; i < _queues.Length; i++)
        {
            OnReactor(i, queue => queue.Freeze());
        }

        for (var attempt = 1; attempt <= ResetAttempts && !_stop.IsCancellationRequested && !_device!.Removed.IsCancellationRequested; attempt++)
        {
            try
            {
                StopDma();
                // The device is reset: what was outstanding has no effect on memory any more, and its outcome is unknown.
                for (var i = 0; i < _queues.Length; i++)
                {
                    OnReactor(i, queue => queue.FailOutstanding(BlockStatus.TimedOut));
                }

                _aborts.Clear();
                _life?.Dispose();
                _life = null;
                BringUp(_virtio!, _stop.Token);
                _log.LogWarning("{Address}: the HBA is back after a reset", _options.Address);
                return true;
            }
            catch (HbaRefusal refusal)
            {
                _log.LogError("{Address}: the HBA cannot be used after its reset: {Error}", _options.Address, refusal.Message);
                return false;
            }
            catch (IOException failure)
            {
                _log.LogError("{Address}: reset attempt {Attempt} of {Attempts} failed: {Error}", _options.Address, attempt, ResetAttempts, failure.Message);
                for (var i = 0; i < _queues.Length; i++)
                {
                    OnReactor(i, queue => queue.Freeze());
                }
            }
        }

        return false;
    }

    // Ends all DMA of the device: by a virtio reset, else by a function reset, else by taking bus mastering away.
    private void StopDma()
    {
        try
        {
            _life?.Reset();
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

    private void Detach(BlockStatus status, string reason)
    {
        _disks.WithdrawAll(reason);
        try
        {
            if (_device is { Removed.IsCancellationRequested: false })
            {
                StopDma();
            }
        }
        catch (IOException failure)
        {
            _log.LogError("{Error}; bus mastering was taken away", failure.Message);
        }

        for (var i = 0; i < _queues.Length; i++)
        {
            var index = i;
            OnReactor(i, queue =>
            {
                queue.Kill(status);
                queue.Registration?.Dispose();
                queue.Registration = null;
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
        _virtio = null;
        _device?.Dispose();
        _device = null;
        _vectors = [];
        foreach (var forwarded in _forwarded ?? [])
        {
            forwarded.Dispose();
        }

        _forwarded = null;
    }
}
