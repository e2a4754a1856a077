namespace Vhost.Abstractions;

/// <summary>
/// What the factories of all three kinds have in common: options with defaults that the host binds strictly from the part's
/// section of the manifest, and a check of their values. A factory's constructor has no side effects; its methods are called on
/// control threads, never on a reactor.
/// </summary>
public interface IPartFactory
{
    /// <summary>One line for <c>vhostd plugins show</c> and the JSON Schema.</summary>
    string Description { get; }

    /// <summary>
    /// A class with public settable properties and a public parameterless constructor. A manifest key is the property's name in
    /// camelCase. <c>[Description]</c>, <c>[Required]</c> and <c>[Range]</c> (System.ComponentModel) go into the JSON Schema and are
    /// enforced by the host.
    /// </summary>
    Type OptionsType { get; }

    /// <summary>Options as they are when the manifest's section says nothing.</summary>
    object CreateDefaultOptions();

    /// <summary>
    /// Checks the values of bound options and reports every fault at once. Called by <c>vhostd validate</c> as well, so it looks at
    /// values only and touches neither files nor devices.
    /// </summary>
    /// <param name="options">An instance of <see cref="OptionsType"/>.</param>
    /// <param name="errors">Collects the faults.</param>
    void Validate(object options, IOptionsErrors errors);
}
