namespace Vhost.Abstractions;

/// <summary>The typed base of <see cref="IBdevFactory"/>.</summary>
/// <typeparam name="TOptions">The source's options.</typeparam>
public abstract class BdevFactory<TOptions> : PartFactory<TOptions>, IBdevFactory
    where TOptions : class, new()
{
    /// <inheritdoc/>
    public BdevDeclaration Declare(string name, object options) => Declare(name, (TOptions)options);

    /// <inheritdoc/>
    public IBdevSource Create(BdevSourceContext context, object options) => Create(context, (TOptions)options);

    /// <summary>See <see cref="IBdevFactory.Declare"/>. By default a source publishes one bdev under its own name.</summary>
    /// <param name="name">The source's name.</param>
    /// <param name="options">Valid options.</param>
    protected virtual BdevDeclaration Declare(string name, TOptions options) => new() { PublishedNames = [name] };

    /// <summary>See <see cref="IBdevFactory.Create"/>.</summary>
    /// <param name="context">What the host gives the source.</param>
    /// <param name="options">Valid options.</param>
    protected abstract IBdevSource Create(BdevSourceContext context, TOptions options);
}
