namespace Vhost.Host.Manifest;

/// <summary>Finds what somebody probably meant.</summary>
internal static class Suggestion
{
    /// <summary>Up to how many words a message names.</summary>
    private const int Few = 30;

    /// <summary>The part of a message that names the nearest of the valid words, and all of them if they are few.</summary>
    /// <param name="word">What was written.</param>
    /// <param name="valid">What would be right.</param>
    /// <param name="noun">What the words are: <c>keys</c>, <c>types</c>.</param>
    internal static string For(string word, IEnumerable<string> valid, string noun)
    {
        string[] all = [.. valid.Order(StringComparer.Ordinal)];
        string? nearest = all
            .Select(candidate => (candidate, distance: Distance(word.ToLowerInvariant(), candidate.ToLowerInvariant())))
            .Where(pair => pair.distance <= Math.Max(1, Math.Min(word.Length, pair.candidate.Length) / 3))
            .OrderBy(pair => pair.distance)
            .Select(pair => pair.candidate)
            .FirstOrDefault();
        string hint = nearest is null ? "" : $"; did you mean \"{nearest}\"?";
        if (all.Length > Few)
        {
            string[] akin = [.. all.Where(candidate => candidate != nearest && IsAkin(candidate, word)).Take(Few / 3)];
            return hint + (akin.Length == 0 ? "" : $"{(nearest is null ? ";" : "")} {noun} like it: {string.Join(", ", akin)}");
        }

        return all.Length == 0 ? $"; there are no {noun} here" : $"{hint}{(nearest is null ? ";" : "")} valid {noun}: {string.Join(", ", all)}";
    }

    /// <summary>Whether one of the words has all parts of the other: bdev_create and bdev_null_create.</summary>
    private static bool IsAkin(string candidate, string word)
    {
        string[] parts = word.ToLowerInvariant().Split('_', StringSplitOptions.RemoveEmptyEntries);
        return parts.Length > 0 && parts.All(part => part.Length > 2 && candidate.Contains(part, StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>Edits (insert, delete, replace, swap neighbours) that turn one word into the other.</summary>
    private static int Distance(string a, string b)
    {
        int[,] d = new int[a.Length + 1, b.Length + 1];
        for (int i = 0; i <= a.Length; i++)
        {
            d[i, 0] = i;
        }

        for (int j = 0; j <= b.Length; j++)
        {
            d[0, j] = j;
        }

        for (int i = 1; i <= a.Length; i++)
        {
            for (int j = 1; j <= b.Length; j++)
            {
                d[i, j] = Math.Min(Math.Min(d[i - 1, j] + 1, d[i, j - 1] + 1), d[i - 1, j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1));
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                {
                    d[i, j] = Math.Min(d[i, j], d[i - 2, j - 2] + 1);
                }
            }
        }

        return d[a.Length, b.Length];
    }
}
