namespace Vhost.Host.Bdevs;

/// <summary>
/// A simple bdev that is withdrawn, until none of its methods is in the middle of a write or a discard: those may still change the storage, and nobody else is to have it meanwhile.
/// </summary>
/// <param name="adapter">What runs the methods.</param>
/// <param name="bdevName">The bdev.</param>
/// <param name="sourceName">The source that published it.</param>
internal sealed class LateWrites(SimpleBdevAdapter adapter, string bdevName, string sourceName)
{
    internal string BdevName => bdevName;

    internal string SourceName => sourceName;

    /// <summary>How many there are now.</summary>
    internal int Count => adapter.ChangeCount;

    /// <summary>Completes when the last one has returned.</summary>
    internal Task Ended => adapter.ChangesEnded;

    /// <summary>Says what is wrong, for people.</summary>
    internal string Describe() => $"{Count} writes of bdev '{bdevName}' hang in its plugin and may still land";
}
