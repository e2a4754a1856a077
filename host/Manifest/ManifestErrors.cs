namespace Vhost.Host.Manifest;

/// <summary>Collects everything that is wrong with a manifest, so that it is reported at once.</summary>
/// <param name="tree">The manifest, which knows where each value comes from.</param>
internal sealed class ManifestErrors(ManifestTree tree)
{
    private readonly List<ManifestError> _errors = [];
    private readonly List<ManifestError> _warnings = [];

    /// <summary>Faults, in the file's order.</summary>
    internal IReadOnlyList<ManifestError> Errors => InOrder(_errors);

    /// <summary>What is allowed but probably not meant.</summary>
    internal IReadOnlyList<ManifestError> Warnings => InOrder(_warnings);

    /// <summary>How many faults there are.</summary>
    internal int Count => _errors.Count;

    /// <summary>Adds a fault.</summary>
    /// <param name="path">Where.</param>
    /// <param name="message">What is wrong and what would be right.</param>
    internal void Add(string path, string message) => _errors.Add(Locate(path, message));

    /// <summary>Adds a warning.</summary>
    /// <param name="path">Where.</param>
    /// <param name="message">What is odd.</param>
    internal void Warn(string path, string message) => _warnings.Add(Locate(path, message));

    private ManifestError Locate(string path, string message)
    {
        (int? line, string? source) = tree.OriginOf(path);
        return new ManifestError(path, message, line, source);
    }

    private static ManifestError[] InOrder(List<ManifestError> errors) => [.. errors.Distinct().OrderBy(error => error.Line ?? int.MaxValue)];
}
