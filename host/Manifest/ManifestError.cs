namespace Vhost.Host.Manifest;

/// <summary>One fault of a manifest.</summary>
/// <param name="Path">Where it is: <c>bdevs.Malloc0.sizeMiB</c>; empty for the manifest as a whole.</param>
/// <param name="Message">What is wrong and what would be right.</param>
/// <param name="Line">The line in the file, from 1, or null where the value does not come from the file.</param>
/// <param name="Source">What set the value instead of the file: <c>--set</c> or an environment variable; or null.</param>
public sealed record ManifestError(string Path, string Message, int? Line, string? Source)
{
    /// <summary>The fault as one line, after the manner of compilers.</summary>
    /// <param name="fileName">The manifest.</param>
    public string Format(string fileName)
    {
        string place = Line is { } line ? $"{fileName}:{line}" : fileName;
        string path = Path.Length == 0 ? "" : $" {Path}:";
        string source = Source is null ? "" : $" (set by {Source})";
        return $"{place}:{path} {Message}{source}";
    }
}
