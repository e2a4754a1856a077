using Microsoft.Extensions.Logging;

namespace Vhost.Abstractions;

/// <summary>
/// A source that publishes one bdev on top of another and follows that: it appears, changes and goes with it. Control threads only.
/// </summary>
/// <param name="context">What the host gave the factory.</param>
/// <param name="belowName">The name of the bdev below; the factory has declared it as <see cref="BdevDeclaration.BuildsOn"/>.</param>
/// <param name="wrap">Makes the bdev that is published, on the port of the one below. Its <see cref="IBdev.Info"/> follows that of the port.</param>
public sealed class WrappingBdevSource(BdevSourceContext context, string belowName, Func<IBdevPort, IBdev> wrap) : IBdevSource, IBdevObserver, IAdjustable
{
    private readonly Lock _lock = new();
    private Task _steps = Task.CompletedTask;
    private IDisposable? _subscription;
    private IBdev? _bdev;
    private bool _isPublished;
    private bool _isDisposed;

    /// <inheritdoc/>
    public async ValueTask StartAsync(CancellationToken cancellationToken)
    {
        var port = context.GetBdev(belowName);
        _bdev = wrap(port);
        _subscription = port.Subscribe(this);
        if (port.Info is null)
        {
            context.Logger.LogInformation(AbstractionEvents.BelowAbsent, "{Name}: bdev {Below} is not there yet; {Name} appears with it", context.Name, belowName, context.Name);
        }

        Task first;
        lock (_lock)
        {
            first = _steps = FollowAfterAsync(_steps, port);
        }

        await first.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public bool TryAdjust(object options) => _bdev is IAdjustable adjustable && adjustable.TryAdjust(options);

    /// <inheritdoc/>
    public void OnBdevChanged(IBdevPort port, BdevChange change)
    {
        lock (_lock)
        {
            if (!_isDisposed)
            {
                // One after the other, and not on the observer's time: a withdrawal waits for reactors.
                _steps = FollowReportingAsync(_steps, port);
            }
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        Task steps;
        lock (_lock)
        {
            if (_isDisposed)
            {
                return;
            }

            _isDisposed = true;
            steps = _steps;
        }

        _subscription?.Dispose();
        await steps.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        (_bdev as IDisposable)?.Dispose();
    }

    private async Task FollowReportingAsync(Task former, IBdevPort port)
    {
        try
        {
            await FollowAfterAsync(former, port).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            context.Logger.LogError(AbstractionEvents.BelowNotFollowed, exception, "{Name}: it cannot follow the change of bdev {Below}", context.Name, belowName);
        }
    }

    private async Task FollowAfterAsync(Task former, IBdevPort port)
    {
        await former.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ForceYielding);
        var isThere = port.Info is not null;
        if (isThere && !_isPublished)
        {
            context.Publisher.Publish(_bdev!);
            _isPublished = true;
        }
        else if (!isThere && _isPublished)
        {
            _isPublished = false;
            await context.Publisher.WithdrawAsync(_bdev!.Name, $"bdev {belowName} below it is gone").ConfigureAwait(false);
        }
        else if (_isPublished)
        {
            context.Publisher.NotifyChanged(_bdev!.Name);
        }
    }
}
