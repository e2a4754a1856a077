namespace Vhost.Abstractions;

/// <summary>Collects the faults of one part's options.</summary>
public interface IOptionsErrors
{
    /// <summary>Adds a fault.</summary>
    /// <param name="path">The key within the part's section, as the manifest spells it: <c>blockSize</c>, <c>targets.3</c>.</param>
    /// <param name="message">What is wrong and what would be right: <c>500 is not a power of two of at least 512</c>.</param>
    void Add(string path, string message);
}
