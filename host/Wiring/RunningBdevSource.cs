using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Host.Bdevs;
using Vhost.Host.Manifest;

namespace Vhost.Host.Wiring;

/// <summary>A bdev source from its creation to its removal.</summary>
internal sealed class RunningBdevSource
{
    private readonly IBdevSource _source;
    private readonly SourcePublisher _publisher;
    private readonly BdevRegistry _bdevs;
    private readonly HostTimes _times;
    private readonly ILogger _logger;

    private RunningBdevSource(BoundBdevSource bound, IBdevSource source, SourcePublisher publisher, BdevRegistry bdevs, HostTimes times, ILogger logger)
    {
        _bdevs = bdevs;
        Bound = bound;
        _source = source;
        _publisher = publisher;
        _times = times;
        _logger = logger;
    }

    /// <summary>What it is now: its options may have changed since it was made.</summary>
    internal BoundBdevSource Bound { get; private set; }

    /// <summary>Lets the source take over changed options while it runs. Bounded.</summary>
    /// <param name="changed">The source as it is to be, of the same type.</param>
    /// <returns>False if it has to be removed and added again for it.</returns>
    /// <exception cref="InvalidOperationException">It should work and did not; the message says why.</exception>
    internal async Task<bool> TryAdjustAsync(BoundBdevSource changed)
    {
        if (_source is not IAdjustable adjustable || changed.TypeName != Bound.TypeName)
        {
            return false;
        }

        var isDone = false;
        try
        {
            await BoundedCall.RunAsync(
                $"{Describe()}: adjust",
                _times.Drain,
                _times.Grace,
                _ =>
                {
                    isDone = adjustable.TryAdjust(changed.Options);
                    return ValueTask.CompletedTask;
                }).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is not InvalidOperationException)
        {
            throw new InvalidOperationException($"{Describe()} cannot be changed while it runs: {exception.Message}", exception);
        }

        if (isDone)
        {
            Bound = changed;
        }

        return isDone;
    }

    /// <summary>Names the source for people.</summary>
    internal string Describe() => Describe(Bound);

    private static string Describe(BoundBdevSource bound) => $"bdev source '{bound.Name}' ({bound.TypeName})";

    /// <summary>Creates and starts a source; undoes it where it fails.</summary>
    /// <exception cref="HostStartException">It failed; nothing of it is left.</exception>
    internal static async Task<RunningBdevSource> StartAsync(HostParts parts, BoundBdevSource bound, CancellationToken cancellationToken)
    {
        var logger = parts.Loggers.CreateLogger($"vhostd.bdev.{bound.Name}");
        var publisher = parts.Bdevs.CreatePublisher(bound.Name, bound.Declaration);
        var context = new BdevSourceContext
        {
            Name = bound.Name,
            Publisher = publisher,
            Memory = parts.Memory,
            Reactors = parts.Reactors,
            Logger = logger,
            GetBdev = parts.Bdevs.GetPort,
        };
        RunningBdevSource? running = null;
        try
        {
            await BoundedCall.RunAsync(
                $"{Describe(bound)}: start",
                parts.Times.Start,
                parts.Times.Grace,
                async token =>
                {
                    var source = bound.Factory.Create(context, bound.Options) ?? throw new InvalidOperationException("its factory returned nothing");
                    running = new RunningBdevSource(bound, source, publisher, parts.Bdevs, parts.Times, logger);
                    await source.StartAsync(token).ConfigureAwait(false);
                },
                cancellationToken).ConfigureAwait(false);
            return running!;
        }
        catch (Exception exception)
        {
            await publisher.CloseAsync("its source failed to start").ConfigureAwait(false);
            if (running is not null)
            {
                await running.DisposeSourceAsync().ConfigureAwait(false);
            }

            // Giving up is not a failure of the part.
            cancellationToken.ThrowIfCancellationRequested();
            throw new HostStartException($"{Describe(bound)} failed to start: {exception.Message}", exception);
        }
    }

    /// <summary>
    /// Withdraws what it published and disposes it. Bounded; never throws. Where a write hangs in a bdev of its, it is disposed when that has returned, so that what keeps others
    /// from its storage (a lock, an open device) does so until then.
    /// </summary>
    /// <returns>Null; or what hangs.</returns>
    internal async Task<HeldStorage?> StopAsync()
    {
        await _publisher.CloseAsync("its source is being removed").ConfigureAwait(false);
        var late = _bdevs.GetLateWrites(Bound.Name);
        if (late.Count == 0)
        {
            await DisposeSourceAsync().ConfigureAwait(false);
            return null;
        }

        return new HeldStorage(Bound, late, DisposeLaterAsync(late));
    }

    private async Task DisposeLaterAsync(IReadOnlyList<LateWrites> late)
    {
        await Task.WhenAll(late.Select(one => one.Ended)).ConfigureAwait(false);
        await DisposeSourceAsync().ConfigureAwait(false);
    }

    private Task DisposeSourceAsync() =>
        BoundedCall.TryAsync(_logger, $"{Describe(Bound)}: dispose", _times.SourceDispose, _times.Grace, _ => _source.DisposeAsync());
}
