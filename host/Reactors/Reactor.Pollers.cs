using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Host.Observability;
using Vhost.Linux;

namespace Vhost.Host.Reactors;

/// <summary>The pollers: active ones are polled each turn, armed ones cost nothing, those without a descriptor are polled with back-off.</summary>
internal sealed partial class Reactor
{
    private readonly Dictionary<ulong, PollerSlot> _slots = [];
    private readonly List<PollerSlot> _backOff = [];
    private ulong _nextToken = WakeToken + 1;

    // May hold null where a poller left during a pass; CompactActive closes the holes between passes.
    private PollerSlot?[] _active = new PollerSlot?[16];
    private int _activeLength;
    private int _activeCount;
    private bool _activeHoles;
    private int _armedCount;
    private long _nextBackOffDue = long.MaxValue;

    /// <inheritdoc/>
    public IPollerRegistration AddPoller(string name, IPoller poller, int wakeFileDescriptor)
    {
        ArgumentNullException.ThrowIfNull(poller);
        ThrowUnlessCurrent();
        var slot = new PollerSlot(this, _nextToken++, name, poller, wakeFileDescriptor);
        if (wakeFileDescriptor >= 0)
        {
            Watch(slot);
        }

        _slots.Add(slot.Token, slot);
        slot.LastWork = _timestamp;
        PutActive(slot);
        return slot;
    }

    internal void Activate(PollerSlot slot)
    {
        switch (slot.State)
        {
            case PollerState.Active:
                slot.LastWork = _timestamp;
                break;
            case PollerState.Armed:
                ThrowUnlessCurrent();
                Disarm(slot);
                break;
            case PollerState.BackOff:
                ThrowUnlessCurrent();
                LeaveBackOff(slot);
                break;
            default:
                break;
        }
    }

    internal void Remove(PollerSlot slot)
    {
        if (slot.State == PollerState.Removed)
        {
            return;
        }

        if (_ended.Task.IsCompleted)
        {
            // The thread is gone and its descriptors with it; nothing is polled any more.
            slot.State = PollerState.Removed;
            return;
        }

        ThrowUnlessCurrent();
        TakeOut(slot);
        slot.State = PollerState.Removed;
        _slots.Remove(slot.Token);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private int PollActive(long now)
    {
        var handled = 0;
        var i = 0;
        while (true)
        {
            try
            {
                // The length is read each time: a poller that is added during the pass is polled in it.
                for (; i < _activeLength; i++)
                {
                    var slot = _active[i];
                    if (slot is null)
                    {
                        continue;
                    }

                    _currentIndex = i;
                    _counters.Polls++;
                    var items = slot.Poller.Poll();
                    if (items > 0)
                    {
                        handled += items;
                        slot.LastWork = now;
                    }
                    else if (now - slot.LastWork >= _lingerTicks)
                    {
                        Settle(slot, now);
                    }
                }

                _currentIndex = Nowhere;
                _counters.Items += handled;
                return handled;
            }
            catch (Exception exception)
            {
                var slot = _active[i++];
                _currentIndex = Nowhere;
                if (slot is not null)
                {
                    Quarantine(slot, exception);
                }
                else
                {
                    _logger.LogError(HostEvents.RemovedPollerFailed, exception, "reactor {Reactor}: a poller failed after it had been removed", Id);
                }
            }
        }
    }

    /// <summary>A poller has had nothing to do for a while.</summary>
    private void Settle(PollerSlot slot, long now)
    {
        if (slot.State != PollerState.Active)
        {
            return;
        }

        if (slot.WakeFileDescriptor < 0)
        {
            LeaveActive(slot);
            slot.State = PollerState.BackOff;
            slot.BackOffTicks = Math.Max(1, Math.Min(_maxBackOffTicks, Math.Max(_lingerTicks, _maxBackOffTicks / 16)));
            slot.NextDue = now + slot.BackOffTicks;
            slot.ListIndex = _backOff.Count;
            _backOff.Add(slot);
            _nextBackOffDue = Math.Min(_nextBackOffDue, slot.NextDue);
        }
        else if (slot.Poller.TryArm())
        {
            if (slot.State == PollerState.Active)
            {
                LeaveActive(slot);
                slot.State = PollerState.Armed;
                _armedCount++;
            }
        }
        else
        {
            slot.LastWork = now;
        }
    }

    private void OnReadable(PollerSlot slot)
    {
        Drain(slot);
        if (slot.State == PollerState.Armed)
        {
            _counters.WakeUps++;
            Disarm(slot);
        }
    }

    private void Disarm(PollerSlot slot)
    {
        _armedCount--;
        slot.LastWork = _timestamp;
        slot.State = PollerState.Active;
        PutActive(slot);
        try
        {
            slot.Poller.Disarm();
        }
        catch (Exception exception)
        {
            Quarantine(slot, exception);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private int PollBackOff(long now)
    {
        var handled = 0;
        var next = long.MaxValue;
        for (var i = _backOff.Count - 1; i >= 0; i--)
        {
            if (i >= _backOff.Count)
            {
                continue;
            }

            var slot = _backOff[i];
            if (now >= slot.NextDue)
            {
                _currentNote = slot;
                _currentIndex = InPoller;
                _counters.Polls++;
                try
                {
                    var items = slot.Poller.Poll();
                    handled += Math.Max(0, items);
                    if (items > 0 && slot.State == PollerState.BackOff)
                    {
                        LeaveBackOff(slot);
                    }
                    else
                    {
                        slot.BackOffTicks = Math.Min(_maxBackOffTicks, slot.BackOffTicks * 2);
                        slot.NextDue = now + slot.BackOffTicks;
                    }
                }
                catch (Exception exception)
                {
                    Quarantine(slot, exception);
                }

                _currentIndex = Nowhere;
                _currentNote = null;
            }
        }

        foreach (var slot in _backOff)
        {
            next = Math.Min(next, slot.NextDue);
        }

        _nextBackOffDue = next;
        _counters.Items += handled;
        return handled;
    }

    private void Quarantine(PollerSlot slot, Exception exception)
    {
        if (slot.State is PollerState.Removed or PollerState.Quarantined)
        {
            _logger.LogError(HostEvents.PollerRemovalFailed, exception, "reactor {Reactor}: the poller '{Poller}' failed as it was being removed", Id, slot.Name);
            return;
        }

        TakeOut(slot);
        slot.State = PollerState.Quarantined;
        _counters.Quarantined++;
        _logger.LogError(
            HostEvents.PollerQuarantined,
            exception,
            "reactor {Reactor}: the poller '{Poller}' failed and is not polled any more; the rest goes on. Restart what it belongs to, and report the fault to the plugin's author",
            Id,
            slot.Name);
        try
        {
            slot.Poller.OnFaulted(exception);
        }
        catch (Exception second)
        {
            _logger.LogError(HostEvents.PollerFailedTwice, second, "reactor {Reactor}: the poller '{Poller}' failed again when it was told of its failure", Id, slot.Name);
        }
    }

    /// <summary>Takes a slot out of every list and out of epoll.</summary>
    private void TakeOut(PollerSlot slot)
    {
        switch (slot.State)
        {
            case PollerState.Active:
                LeaveActive(slot);
                break;
            case PollerState.Armed:
                _armedCount--;
                break;
            case PollerState.BackOff:
                RemoveFromBackOff(slot);
                break;
            default:
                return;
        }

        if (slot.WakeFileDescriptor >= 0)
        {
            try
            {
                _epoll.Remove(slot.Duplicate?.Raw ?? slot.WakeFileDescriptor);
            }
            catch (LinuxException exception)
            {
                // Closed before its registration was disposed: the kernel has forgotten it already, or it is another file by now.
                _logger.LogWarning(HostEvents.PollerDescriptorClosed, "reactor {Reactor}: the descriptor of poller '{Poller}' was closed too early ({Reason})", Id, slot.Name, exception.Message);
            }

            slot.Duplicate?.Dispose();
            slot.Duplicate = null;
        }
    }

    private void PutActive(PollerSlot slot)
    {
        if (_activeLength == _active.Length)
        {
            var larger = new PollerSlot?[_activeLength * 2];
            Array.Copy(_active, larger, _activeLength);
            Volatile.Write(ref _active, larger);
        }

        slot.ListIndex = _activeLength;
        _active[_activeLength++] = slot;
        _activeCount++;
    }

    private void LeaveActive(PollerSlot slot)
    {
        _active[slot.ListIndex] = null;
        _activeHoles = true;
        _activeCount--;
    }

    private void CompactActive()
    {
        var kept = 0;
        for (var i = 0; i < _activeLength; i++)
        {
            if (_active[i] is { } slot)
            {
                slot.ListIndex = kept;
                _active[kept++] = slot;
            }
        }

        Array.Clear(_active, kept, _activeLength - kept);
        _activeLength = kept;
        _activeHoles = false;
    }

    private void LeaveBackOff(PollerSlot slot)
    {
        RemoveFromBackOff(slot);
        slot.State = PollerState.Active;
        slot.LastWork = _timestamp;
        PutActive(slot);
    }

    private void RemoveFromBackOff(PollerSlot slot)
    {
        var last = _backOff[^1];
        _backOff[slot.ListIndex] = last;
        last.ListIndex = slot.ListIndex;
        _backOff.RemoveAt(_backOff.Count - 1);
        if (_backOff.Count == 0)
        {
            _nextBackOffDue = long.MaxValue;
        }
    }

    private void Watch(PollerSlot slot)
    {
        // Edge-triggered: registered once, so arming costs no system call, and what was signalled while the poller was active wakes once more at most.
        const EpollEvents Events = EpollEvents.In | EpollEvents.EdgeTriggered;
        try
        {
            _epoll.Add(slot.WakeFileDescriptor, Events, slot.Token);
        }
        catch (LinuxException exception) when (exception.Error == Errno.EEXIST)
        {
            // One descriptor may wake several pollers (a shared interrupt). A duplicate is another entry for epoll.
            slot.Duplicate = FileDescriptor.DuplicateRaw(slot.WakeFileDescriptor);
            _epoll.Add(slot.Duplicate.Raw, Events, slot.Token);
        }
    }

    // SAFETY: the kernel writes at most 8 bytes into a live local.
    private static unsafe void Drain(PollerSlot slot)
    {
        if (!slot.CanDrain)
        {
            return;
        }

        // Never a plain read: the descriptor may be a guest's, who can read it empty or make it blocking between our wake-up and our read.
        ulong count;
        var vector = new IoVector(&count, sizeof(ulong));
        var result = FileIo.TryReadVector(slot.WakeFileDescriptor, &vector, 1, ulong.MaxValue, ReadWriteFlags.NoWait);
        // Draining only keeps the counter small: with edge-triggered epoll nothing depends on it.
        slot.CanDrain = result >= 0 || result == -Errno.EAGAIN;
    }
}
