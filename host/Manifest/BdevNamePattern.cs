namespace Vhost.Host.Manifest;

/// <summary>Names that a source declares: exact, or with <c>*</c> for one or more digits.</summary>
internal static class BdevNamePattern
{
    /// <summary>Whether two declared names, patterns or not, can mean the same bdev.</summary>
    /// <param name="first">A name or pattern.</param>
    /// <param name="second">A name or pattern.</param>
    internal static bool Overlaps(string first, string second) => Overlaps(first, 0, second, 0, []);

    /// <summary>Whether a bdev's name is covered by a declared name.</summary>
    /// <param name="pattern">A name or pattern.</param>
    /// <param name="name">A bdev's name.</param>
    internal static bool Matches(string pattern, string name) => Overlaps(pattern, name);

    /// <summary>
    /// Walks both at once: a position at <c>*</c> may take any digit and stay, or take it and go on. <paramref name="seen"/> bounds the
    /// walk to one visit for each pair of positions.
    /// </summary>
    private static bool Overlaps(string a, int i, string b, int j, HashSet<(int, int)> seen)
    {
        if (i == a.Length || j == b.Length)
        {
            return i == a.Length && j == b.Length;
        }

        if (!seen.Add((i, j)))
        {
            return false;
        }

        bool starA = a[i] == '*';
        bool starB = b[j] == '*';
        bool fits = (starA, starB) switch
        {
            (true, true) => true,
            (true, false) => char.IsAsciiDigit(b[j]),
            (false, true) => char.IsAsciiDigit(a[i]),
            (false, false) => a[i] == b[j],
        };
        return fits
            && (Overlaps(a, i + 1, b, j + 1, seen)
                || (starA && Overlaps(a, i, b, j + 1, seen))
                || (starB && Overlaps(a, i + 1, b, j, seen)));
    }
}
