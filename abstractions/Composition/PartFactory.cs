namespace Vhost.Abstractions;

/// <summary>The typed base of a factory: gives default options by <c>new()</c> and casts in one place.</summary>
/// <typeparam name="TOptions">The part's options.</typeparam>
public abstract class PartFactory<TOptions> : IPartFactory
    where TOptions : class, new()
{
    /// <inheritdoc/>
    public abstract string Description { get; }

    /// <inheritdoc/>
    public Type OptionsType => typeof(TOptions);

    /// <inheritdoc/>
    public virtual object CreateDefaultOptions() => new TOptions();

    /// <inheritdoc/>
    public void Validate(object options, IOptionsErrors errors) => Validate((TOptions)options, errors);

    /// <summary>Checks the values; see <see cref="IPartFactory.Validate"/>. By default nothing is wrong.</summary>
    /// <param name="options">The bound options.</param>
    /// <param name="errors">Collects the faults.</param>
    protected virtual void Validate(TOptions options, IOptionsErrors errors)
    {
    }
}
