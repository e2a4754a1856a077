using Vhost.Host.Manifest;

namespace Vhost.Host.Bdevs;

/// <summary>The names that a source may publish: exact ones, and patterns in which <c>*</c> stands for one or more digits.</summary>
internal static class DeclaredNames
{
    /// <summary>Whether a name is one of those declared.</summary>
    /// <param name="declared">Exact names and patterns.</param>
    /// <param name="name">The name.</param>
    internal static bool Contain(IReadOnlyList<string> declared, string name) => declared.Any(pattern => BdevNamePattern.Matches(pattern, name));

    /// <summary>Whether a name is well-formed: <c>[A-Za-z0-9._-]+</c>.</summary>
    /// <param name="name">The name.</param>
    internal static bool IsWellFormed(string name) =>
        name.Length > 0 && name.All(static c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');
}
