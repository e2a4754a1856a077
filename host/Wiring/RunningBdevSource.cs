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
    private readonly HostTimes _times;
    private readonly ILogger _logger;

    private RunningBdevSource(BoundBdevSource bound, IBdevSource source, SourcePublisher publisher, HostTimes times, ILogger logger)
    {
        Bound = bound;
        _source = source;
        _publisher = publisher;
        _times = times;
        _logger = logger;
    }

    internal BoundBdevSource Bound { get; }

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
                    running = new RunningBdevSource(bound, source, publisher, parts.Times, logger);
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

    /// <summary>Withdraws what it published and disposes it. Bounded; never throws.</summary>
    internal async Task StopAsync()
    {
        await _publisher.CloseAsync("its source is being removed").ConfigureAwait(false);
        await DisposeSourceAsync().ConfigureAwait(false);
    }

    private Task DisposeSourceAsync() =>
        BoundedCall.TryAsync(_logger, $"{Describe(Bound)}: dispose", _times.SourceDispose, _times.Grace, _ => _source.DisposeAsync());
}
