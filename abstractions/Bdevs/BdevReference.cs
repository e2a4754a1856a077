namespace Vhost.Abstractions;

/// <summary>A bdev that a part's options refer to.</summary>
/// <param name="OptionPath">The key within the part's section: <c>bdev</c>, <c>targets.0</c>.</param>
/// <param name="BdevName">The name that stands there.</param>
public readonly record struct BdevReference(string OptionPath, string BdevName);
