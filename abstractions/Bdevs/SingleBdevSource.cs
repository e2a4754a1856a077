namespace Vhost.Abstractions;

/// <summary>A source that opens and publishes exactly one bdev; enough for most backends.</summary>
/// <param name="context">What the host gave the factory.</param>
/// <param name="open">Opens the bdev at start. A result that is disposable is disposed with the source.</param>
public sealed class SingleBdevSource(BdevSourceContext context, Func<CancellationToken, ValueTask<IBdev>> open) : IBdevSource, IAdjustable
{
    private IBdev? _bdev;

    /// <summary>For a bdev that opens without waiting.</summary>
    /// <param name="context">What the host gave the factory.</param>
    /// <param name="open">Opens the bdev at start.</param>
    public SingleBdevSource(BdevSourceContext context, Func<IBdev> open)
        : this(context, _ => ValueTask.FromResult(open()))
    {
    }

    /// <inheritdoc/>
    public async ValueTask StartAsync(CancellationToken cancellationToken)
    {
        _bdev = await open(cancellationToken).ConfigureAwait(false);
        context.Publisher.Publish(_bdev);
    }

    /// <inheritdoc/>
    public bool TryAdjust(object options)
    {
        if (_bdev is not IAdjustable adjustable || !adjustable.TryAdjust(options))
        {
            return false;
        }

        context.Publisher.NotifyChanged(_bdev.Name);
        return true;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        var bdev = Interlocked.Exchange(ref _bdev, null);
        if (bdev is IAsyncDisposable asyncDisposable)
        {
            await asyncDisposable.DisposeAsync().ConfigureAwait(false);
        }
        else if (bdev is IDisposable disposable)
        {
            disposable.Dispose();
        }
    }
}
