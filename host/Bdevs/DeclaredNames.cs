namespace Vhost.Host.Bdevs;

/// <summary>The names that a source may publish: exact ones, and patterns in which <c>*</c> stands for one or more digits.</summary>
internal static class DeclaredNames
{
    /// <summary>Whether a name is one of those declared.</summary>
    /// <param name="declared">Exact names and patterns.</param>
    /// <param name="name">The name.</param>
    internal static bool Contain(IReadOnlyList<string> declared, string name) => declared.Any(pattern => Matches(pattern, name));

    /// <summary>Whether a name is well-formed: <c>[A-Za-z0-9._-]+</c>.</summary>
    /// <param name="name">The name.</param>
    internal static bool IsWellFormed(string name) =>
        name.Length > 0 && name.All(static c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');

    private static bool Matches(ReadOnlySpan<char> pattern, ReadOnlySpan<char> name)
    {
        while (true)
        {
            var star = pattern.IndexOf('*');
            if (star < 0)
            {
                return name.SequenceEqual(pattern);
            }

            if (!name.StartsWith(pattern[..star]))
            {
                return false;
            }

            name = name[star..];
            pattern = pattern[(star + 1)..];
            var digits = name.IndexOfAnyExceptInRange('0', '9');
            digits = digits < 0 ? name.Length : digits;
            if (digits == 0)
            {
                return false;
            }

            // Greedy is right unless a digit follows the star in the pattern; then each shorter run is tried.
            for (var length = digits; length > 1; length--)
            {
                if (Matches(pattern, name[length..]))
                {
                    return true;
                }
            }

            name = name[1..];
        }
    }
}
