using Microsoft.Extensions.Logging;
using Vhost.Abstractions;

namespace Vhost.BlockController;

/// <summary>What of a controller is published, by what the controller calls it. The controller's thread only.</summary>
/// <typeparam name="TKey">How the controller names a bdev.</typeparam>
/// <typeparam name="TBdev">The driver's bdev.</typeparam>
/// <param name="context">Where they are published.</param>
public sealed class PublishedBdevs<TKey, TBdev>(BdevSourceContext context)
    where TKey : notnull
    where TBdev : class, IBdev
{
    private readonly Dictionary<TKey, TBdev> _bdevs = [];

    /// <summary>How many are published.</summary>
    public int Count => _bdevs.Count;

    /// <summary>The names now: what is withdrawn meanwhile is still among them.</summary>
    public TKey[] Keys => [.. _bdevs.Keys];

    /// <summary>The bdevs now.</summary>
    public TBdev[] Bdevs => [.. _bdevs.Values];

    /// <summary>The bdev of a name, or null.</summary>
    /// <param name="key">The name.</param>
    public TBdev? Find(TKey key) => _bdevs.GetValueOrDefault(key);

    /// <summary>Publishes a bdev.</summary>
    /// <param name="key">Its name with the controller; it has no other bdev.</param>
    /// <param name="bdev">The bdev.</param>
    public void Publish(TKey key, TBdev bdev)
    {
        ArgumentNullException.ThrowIfNull(bdev);
        _bdevs.Add(key, bdev);
        context.Publisher.Publish(bdev);
    }

    /// <summary>Tells that a bdev's <see cref="IBdev.Info"/> is another now.</summary>
    /// <param name="bdev">The bdev.</param>
    public void NotifyChanged(TBdev bdev)
    {
        ArgumentNullException.ThrowIfNull(bdev);
        context.Publisher.NotifyChanged(bdev.Name);
    }

    /// <summary>Withdraws a bdev. Not waited for: requests under way end when the queues end them, and that is the caller's next step.</summary>
    /// <param name="key">Its name.</param>
    /// <param name="reason">Why, for the log.</param>
    public void Withdraw(TKey key, string reason)
    {
        if (!_bdevs.Remove(key, out var bdev))
        {
            return;
        }

        context.Publisher.WithdrawAsync(bdev.Name, reason).AsTask().ContinueWith(
            task => context.Logger.LogError(BlockControllerEvents.WithdrawalFailed, task.Exception, "withdrawing {Bdev} failed", bdev.Name),
            CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
    }

    /// <summary>Withdraws all: the controller is going or gone.</summary>
    /// <param name="reason">Why, for the log.</param>
    public void WithdrawAll(string reason)
    {
        foreach (var key in Keys)
        {
            Withdraw(key, reason);
        }
    }
}
