using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Host.Observability;

namespace Vhost.Host.Bdevs;

/// <summary>Where a port stands.</summary>
public enum BdevPortState
{
    /// <summary>No bdev is there.</summary>
    Absent,

    /// <summary>A bdev is there and serves.</summary>
    Present,

    /// <summary>The bdev broke its contract: its requests fail.</summary>
    Quarantined,
}

/// <summary>A named place for a bdev.</summary>
internal sealed partial class BdevPort : IBdevPort
{
    private readonly Lock _lock = new();
    private readonly ILogger _logger;
    private readonly List<IBdevObserver> _observers = [];
    private volatile BdevAttachment? _attachment;
    private Task _notifications = Task.CompletedTask;
    private int _userFaults;

    internal BdevPort(string name, ILogger logger)
    {
        Name = name;
        _logger = logger;
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public BdevInfo? Info => _attachment?.Limits.PortInfo;

    /// <summary>What is there now. Read once a batch.</summary>
    internal BdevAttachment? Attachment => _attachment;

    internal BdevPortState State => _attachment switch
    {
        null => BdevPortState.Absent,
        { QuarantineReason: null } => BdevPortState.Present,
        _ => BdevPortState.Quarantined,
    };

    /// <summary>All channels.</summary>
    internal ChannelGroup Channels { get; } = new();

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => OpenChannel(reactor, completions, null);

    /// <summary>Opens a channel that is counted for its user as well.</summary>
    /// <param name="reactor">The reactor.</param>
    /// <param name="completions">Takes the completions.</param>
    /// <param name="owner">The user, or null.</param>
    internal IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions, ChannelGroup? owner)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        ArgumentNullException.ThrowIfNull(completions);
        if (!reactor.IsCurrent)
        {
            throw new InvalidOperationException($"bdev {Name}: a channel is opened on the thread of its reactor");
        }

        var channel = new PortChannel(this, reactor, completions, owner);
        Channels.Add(channel);
        owner?.Add(channel);
        return channel;
    }

    /// <inheritdoc/>
    public IDisposable Subscribe(IBdevObserver observer)
    {
        ArgumentNullException.ThrowIfNull(observer);
        lock (_lock)
        {
            _observers.Add(observer);
        }

        return new Subscription(this, observer);
    }

    /// <summary>A bdev takes the place. Nothing is there.</summary>
    internal void Attach(BdevAttachment attachment)
    {
        attachment.SetWriteProtection(_isWriteProtected);
        _attachment = attachment;
        Notify(BdevChange.Appeared);
    }

    /// <summary>The bdev's info changed.</summary>
    /// <param name="info">The new one, checked.</param>
    internal void Change(BdevInfo info)
    {
        if (_attachment is not { } attachment)
        {
            return;
        }

        var before = attachment.Limits.PortInfo;
        attachment.Update(info);
        var after = attachment.Limits.PortInfo;
        Notify(before.BlockCount != info.BlockCount ? BdevChange.Resized
            : before != after && WithHealthOf(before, after) == after ? BdevChange.Warned
            : BdevChange.Changed);
    }

    private static BdevInfo WithHealthOf(BdevInfo info, BdevInfo other) => info with
    {
        Warning = other.Warning, LifeUsedPercent = other.LifeUsedPercent, SpareLeftPercent = other.SpareLeftPercent, TemperatureCelsius = other.TemperatureCelsius,
    };

    /// <summary>
    /// Takes the bdev away: new requests fail from now on; waits for those under way and gives them up at the limit.
    /// </summary>
    /// <param name="attachment">What is there.</param>
    /// <param name="drainLimit">How long requests under way may take.</param>
    internal async Task DetachAsync(BdevAttachment attachment, TimeSpan drainLimit)
    {
        if (ReferenceEquals(_attachment, attachment))
        {
            _attachment = null;
            Notify(BdevChange.Removed);
        }

        foreach (var binding in attachment.Withdraw())
        {
            binding.PostSafely(binding.CloseIfOpen);
        }

        if (await IsDoneWithinAsync(attachment.AllClosed, drainLimit).ConfigureAwait(false))
        {
            return;
        }

        var abandoned = 0;
        foreach (var binding in attachment.GetBindings())
        {
            binding.PostSafely(() => Interlocked.Add(ref abandoned, binding.Abandon(BlockStatus.NoDevice)));
        }

        var isClosed = await IsDoneWithinAsync(attachment.AllClosed, TimeSpan.FromMilliseconds(500)).ConfigureAwait(false);
        _logger.LogError(
            HostEvents.BdevHangs,
            "bdev {Bdev}: {Count} requests did not complete within {Seconds:0.0} s of its withdrawal; {Outcome}. The backend or its plugin hangs",
            Name,
            abandoned,
            drainLimit.TotalSeconds,
            isClosed ? "they were failed with NoDevice, and what completes later is dropped" : "a reactor is stuck, so its channel stays open and its requests pending");
    }

    /// <summary>The user of a channel threw from its completion callback.</summary>
    internal void ReportUserFault(Exception exception)
    {
        if (Interlocked.Increment(ref _userFaults) == 1)
        {
            _logger.LogError(
                HostEvents.BdevUserFailed,
                exception,
                "bdev {Bdev}: its user failed while it took completions, which are lost to it; further failures are only counted. Report the fault to the author of the device type",
                Name);
        }
    }

    internal BdevStatistics GetStatistics() => Channels.GetStatistics();

    /// <summary>Completes when the observers were told of everything until now.</summary>
    internal Task WhenNotifiedAsync()
    {
        lock (_lock)
        {
            return _notifications;
        }
    }

    private static async Task<bool> IsDoneWithinAsync(Task task, TimeSpan limit) =>
        ReferenceEquals(await Task.WhenAny(task, Task.Delay(limit)).ConfigureAwait(false), task);

    /// <summary>Tells the observers, one change after the other, off the caller's thread: an observer that hangs holds up this port's observers only.</summary>
    private void Notify(BdevChange change)
    {
        lock (_lock)
        {
            IBdevObserver[] observers = [.. _observers];
            _notifications = _notifications.ContinueWith(
                _ =>
                {
                    foreach (var observer in observers)
                    {
                        Tell(observer, change);
                    }
                },
                CancellationToken.None,
                TaskContinuationOptions.None,
                TaskScheduler.Default);
        }
    }

    private void Tell(IBdevObserver observer, BdevChange change)
    {
        lock (_lock)
        {
            if (!_observers.Contains(observer))
            {
                return;
            }
        }

        try
        {
            observer.OnBdevChanged(this, change);
        }
        catch (Exception exception)
        {
            _logger.LogError(HostEvents.BdevObserverFailed, exception, "bdev {Bdev}: an observer failed when it was told '{Change}'", Name, change);
        }
    }

    private void Unsubscribe(IBdevObserver observer)
    {
        lock (_lock)
        {
            _observers.Remove(observer);
        }
    }

    private sealed class Subscription(BdevPort port, IBdevObserver observer) : IDisposable
    {
        private int _isDisposed;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
            {
                port.Unsubscribe(observer);
            }
        }
    }
}
