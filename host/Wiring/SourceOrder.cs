using Vhost.Host.Bdevs;
using Vhost.Host.Manifest;

namespace Vhost.Host.Wiring;

/// <summary>In what order bdev sources start: what a wrapper builds on comes before the wrapper.</summary>
internal static class SourceOrder
{
    /// <summary>Whether one source uses a bdev that another may publish.</summary>
    /// <param name="wrapper">The one.</param>
    /// <param name="below">The other.</param>
    internal static bool BuildsOn(BoundBdevSource wrapper, BoundBdevSource below) =>
        wrapper.Declaration.BuildsOn.Any(reference => DeclaredNames.Contain(below.Declaration.PublishedNames, reference.BdevName));

    /// <summary>Groups sources so that each builds on earlier groups only; those of one group start at the same time.</summary>
    /// <param name="sources">Sources in an order in which each comes after those that it builds on.</param>
    internal static IReadOnlyList<IReadOnlyList<BoundBdevSource>> GetLevels(IReadOnlyList<BoundBdevSource> sources)
    {
        var levels = new List<List<BoundBdevSource>>();
        var levelOf = new Dictionary<BoundBdevSource, int>(ReferenceEqualityComparer.Instance);
        foreach (var source in sources)
        {
            var level = levelOf.Where(entry => BuildsOn(source, entry.Key)).Select(entry => entry.Value + 1).DefaultIfEmpty(0).Max();
            levelOf.Add(source, level);
            if (levels.Count == level)
            {
                levels.Add([]);
            }

            levels[level].Add(source);
        }

        return levels;
    }
}
