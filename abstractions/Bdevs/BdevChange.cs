namespace Vhost.Abstractions;

/// <summary>What happened at a port.</summary>
public enum BdevChange
{
    /// <summary>A bdev is there.</summary>
    Appeared,

    /// <summary>The bdev is gone or going.</summary>
    Removed,

    /// <summary>The bdev's size changed.</summary>
    Resized,

    /// <summary>Something else in its <see cref="BdevInfo"/> changed.</summary>
    Changed,

    /// <summary>Its <see cref="BdevInfo.Warning"/> came, went or changed, and nothing else.</summary>
    Warned,
}
