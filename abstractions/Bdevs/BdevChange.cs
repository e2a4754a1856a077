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

    /// <summary>
    /// What it says of the device's health changed, and nothing else: <see cref="BdevInfo.Warning"/>, <see cref="BdevInfo.LifeUsedPercent"/>, <see cref="BdevInfo.SpareLeftPercent"/>, or <see cref="BdevInfo.TemperatureCelsius"/>.
    /// </summary>
    Warned,
}
