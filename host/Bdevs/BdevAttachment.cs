using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Host.Observability;

namespace Vhost.Host.Bdevs;

/// <summary>
/// One bdev at a port, from its publication to its withdrawal: its limits, the channels that reactors opened into it, and whose turn it is
/// to compare and write. The lock is for control threads and for opening and closing channels; no request takes it.
/// </summary>
internal sealed class BdevAttachment
{
    private readonly Lock _lock = new();
    private readonly List<ChannelBinding> _bindings = [];
    private readonly Queue<RangeFreeze> _waitingFreezes = new();
    private readonly TaskCompletionSource _allClosed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile BdevLimits _limits;
    private BdevInfo _info;
    private RangeFreeze? _freeze;
    private bool _isWithdrawn;
    private bool _isWriteProtected;

    internal BdevAttachment(string name, IBdev bdev, IChannelBdev channels, ILogger logger)
    {
        Name = name;
        Bdev = bdev;
        Channels = channels;
        Logger = logger;
        _info = channels.Info;
        _limits = BdevLimits.Create(_info);
    }

    internal string Name { get; }

    /// <summary>What the source published.</summary>
    internal IBdev Bdev { get; }

    /// <summary>What gives channels: the bdev itself, or the adapter of a simple one.</summary>
    internal IChannelBdev Channels { get; }

    internal ILogger Logger { get; }

    /// <summary>For checks. Read once a batch.</summary>
    internal BdevLimits Limits => _limits;

    /// <summary>Why the bdev gets no more requests, or null.</summary>
    internal string? QuarantineReason { get; private set; }

    /// <summary>Completes when the attachment was withdrawn and its last channel closed.</summary>
    internal Task AllClosed => _allClosed.Task;

    /// <summary>Takes over a changed info.</summary>
    /// <param name="info">The new info, checked.</param>
    internal void Update(BdevInfo info)
    {
        lock (_lock)
        {
            _info = info;
            _limits = BdevLimits.Create(Protect(info), QuarantineReason is not null);
        }
    }

    /// <summary>Refuses writes whatever the bdev could do, or does not any more.</summary>
    internal void SetWriteProtection(bool isProtected)
    {
        lock (_lock)
        {
            _isWriteProtected = isProtected;
            _limits = BdevLimits.Create(Protect(_info), QuarantineReason is not null);
        }
    }

    /// <summary>The bdev broke its contract: from now on its requests fail, on every reactor.</summary>
    /// <param name="reason">What it did.</param>
    /// <param name="exception">What it threw, or null.</param>
    internal void Quarantine(string reason, Exception? exception)
    {
        lock (_lock)
        {
            if (QuarantineReason is not null)
            {
                return;
            }

            QuarantineReason = reason;
            // What it said last that was possible: what it says now may be the reason.
            _limits = BdevLimits.Create(Protect(_info), isQuarantined: true);
        }

        Logger.LogError(
            HostEvents.BdevQuarantined,
            exception,
            "bdev {Bdev}: {Reason}. It gets no more requests: they fail with an I/O error. Remove and add it again to go on, and report the fault to the plugin's author",
            Name,
            reason);
    }

    /// <summary>Enters a channel. Its reactor's thread.</summary>
    /// <returns>False if the bdev was withdrawn meanwhile.</returns>
    internal bool TryAdd(ChannelBinding binding)
    {
        lock (_lock)
        {
            if (_isWithdrawn)
            {
                return false;
            }

            _bindings.Add(binding);
            if (_freeze is { } freeze)
            {
                // It has nothing under way yet, so there is nothing to wait for.
                binding.JoinFrozen(freeze);
            }

            return true;
        }
    }

    /// <summary>A channel was closed. Its reactor's thread.</summary>
    internal void Remove(ChannelBinding binding)
    {
        lock (_lock)
        {
            _bindings.Remove(binding);
            if (_isWithdrawn && _bindings.Count == 0)
            {
                _allClosed.TrySetResult();
            }
        }
    }

    /// <summary>Closes the door: returns the channels that are still open.</summary>
    internal IReadOnlyList<ChannelBinding> Withdraw()
    {
        lock (_lock)
        {
            _isWithdrawn = true;
            if (_bindings.Count == 0)
            {
                _allClosed.TrySetResult();
            }

            return [.. _bindings];
        }
    }

    /// <summary>The channels that are open.</summary>
    internal IReadOnlyList<ChannelBinding> GetBindings()
    {
        lock (_lock)
        {
            return [.. _bindings];
        }
    }

    /// <summary>
    /// Waits for the exclusive use of a range among everything that writes, on every reactor. One range at a time. The owner is told on
    /// its reactor by the callback that the <see cref="RangeFreeze"/> carries.
    /// </summary>
    internal void Acquire(RangeFreeze freeze)
    {
        lock (_lock)
        {
            if (_freeze is not null)
            {
                _waitingFreezes.Enqueue(freeze);
                return;
            }
        }

        Activate(freeze);
    }

    /// <summary>Gives a range back, or takes back the wish for one.</summary>
    internal void Release(RangeFreeze freeze)
    {
        IReadOnlyList<ChannelBinding> bindings = [];
        RangeFreeze? next = null;
        lock (_lock)
        {
            freeze.IsReleased = true;
            if (ReferenceEquals(_freeze, freeze))
            {
                bindings = [.. _bindings];
                _freeze = null;
                do
                {
                    _waitingFreezes.TryDequeue(out next);
                }
                while (next is { IsReleased: true });
            }
        }

        foreach (var binding in bindings)
        {
            binding.PostThaw(freeze);
        }

        if (next is not null)
        {
            Activate(next);
        }
    }

    /// <summary>A channel has nothing under way any more that overlaps the range.</summary>
    internal void Acknowledge(RangeFreeze freeze)
    {
        bool isGranted;
        lock (_lock)
        {
            isGranted = --freeze.PendingCount == 0 && !freeze.IsReleased;
        }

        if (isGranted)
        {
            freeze.PostGranted();
        }
    }

    private BdevInfo Protect(BdevInfo info) => _isWriteProtected ? info with { IsReadOnly = true } : info;

    private void Activate(RangeFreeze freeze)
    {
        IReadOnlyList<ChannelBinding> bindings;
        lock (_lock)
        {
            if (_freeze is not null)
            {
                // Another one came first, between two locks.
                _waitingFreezes.Enqueue(freeze);
                return;
            }

            _freeze = freeze;
            bindings = [.. _bindings];
            freeze.PendingCount = bindings.Count;
        }

        if (bindings.Count == 0)
        {
            freeze.PostGranted();
            return;
        }

        foreach (var binding in bindings)
        {
            binding.PostFreeze(freeze);
        }
    }
}
