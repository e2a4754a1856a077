using Vhost.Abstractions;

namespace Vhost.Host.Manifest;

/// <summary>A place that refers to a bdev.</summary>
/// <param name="Path">Where.</param>
/// <param name="BdevName">The name that stands there.</param>
/// <param name="Wrapper">The source that builds on the bdev, or null if a controller uses it.</param>
/// <param name="TypeName">The user's type.</param>
/// <param name="AllowsShared">Whether the user can share the bdev with others.</param>
internal sealed record BdevUse(string Path, string BdevName, BoundBdevSource? Wrapper, string TypeName, bool AllowsShared);

/// <summary>Checks who publishes which bdevs and who uses them.</summary>
/// <param name="errors">Collects what is wrong.</param>
internal sealed class BdevReferences(ManifestErrors errors)
{
    private readonly List<(string Path, BoundBdevSource Source)> _sources = [];
    private readonly List<BdevUse> _uses = [];
    private readonly List<string> _broken = [];

    /// <summary>Adds a source and what it builds on.</summary>
    /// <param name="path">Where it is.</param>
    /// <param name="source">The source.</param>
    internal void AddSource(string path, BoundBdevSource source)
    {
        _sources.Add((path, source));
        foreach (BdevReference reference in source.Declaration.BuildsOn)
        {
            AddUse(new BdevUse(ManifestPath.Append(path, reference.OptionPath), reference.BdevName, source, source.TypeName, false));
        }
    }

    /// <summary>Adds a source that has faults: what it would publish is not known.</summary>
    /// <param name="name">Its name.</param>
    internal void AddBroken(string name) => _broken.Add(name);

    /// <summary>Adds a reference.</summary>
    /// <param name="use">The reference.</param>
    internal void AddUse(BdevUse use) => _uses.Add(use);

    /// <summary>Checks everything.</summary>
    /// <param name="sources">The sources, in the manifest's order.</param>
    /// <returns>The sources in starting order.</returns>
    internal IReadOnlyList<BoundBdevSource> Check(IReadOnlyList<BoundBdevSource> sources)
    {
        CheckPublishedNames();
        CheckMissing();
        CheckUsedTwice();
        foreach ((string path, BoundBdevSource source) in _sources.Where(pair => !_uses.Exists(use => Publishes(pair.Source, use.BdevName))))
        {
            errors.Warn(path, $"nothing uses {string.Join(", ", source.Declaration.PublishedNames)}");
        }

        return InStartingOrder(sources);
    }

    private static bool Publishes(BoundBdevSource source, string name) =>
        source.Declaration.PublishedNames.Any(pattern => BdevNamePattern.Matches(pattern, name));

    private void CheckPublishedNames()
    {
        for (int i = 0; i < _sources.Count; i++)
        {
            for (int j = 0; j < i; j++)
            {
                foreach (string mine in _sources[i].Source.Declaration.PublishedNames)
                {
                    string? theirs = _sources[j].Source.Declaration.PublishedNames.FirstOrDefault(name => BdevNamePattern.Overlaps(name, mine));
                    if (theirs is not null)
                    {
                        errors.Add(_sources[i].Path, $"it may publish the bdev \"{mine}\", which {_sources[j].Path} may publish as well{(theirs == mine ? "" : $" (\"{theirs}\")")}; rename one of them");
                    }
                }
            }
        }
    }

    private void CheckMissing()
    {
        foreach (BdevUse use in _uses)
        {
            bool known = _sources.Exists(pair => Publishes(pair.Source, use.BdevName));
            // What a source with faults would publish is not known: its own faults are enough to read.
            if (!known && !_broken.Exists(name => use.BdevName.StartsWith(name, StringComparison.Ordinal)))
            {
                errors.Add(use.Path, $"there is no bdev \"{use.BdevName}\""
                    + Suggestion.For(use.BdevName, _sources.SelectMany(pair => pair.Source.Declaration.PublishedNames).Concat(_broken), "bdevs"));
            }
        }
    }

    private void CheckUsedTwice()
    {
        foreach (IGrouping<string, BdevUse> group in _uses.GroupBy(use => use.BdevName).Where(group => group.Count() > 1))
        {
            BdevUse first = group.First();
            BoundBdevSource? source = _sources.Find(pair => Publishes(pair.Source, group.Key)).Source;
            if (source is null)
            {
                continue;
            }

            foreach (BdevUse use in group.Skip(1))
            {
                string used = $"the bdev \"{group.Key}\" is used by {first.Path} already";
                BdevUse? exclusive = group.FirstOrDefault(candidate => !candidate.AllowsShared);
                if (exclusive is { Wrapper: not null })
                {
                    errors.Add(use.Path, $"{used}; a bdev that another is built on ({exclusive.Path}) cannot be used beside it");
                }
                else if (exclusive is not null)
                {
                    errors.Add(use.Path, $"{used}, and the controller type {exclusive.TypeName} ({exclusive.Path}) does not share bdevs");
                }
                else if (!source.IsShared)
                {
                    errors.Add(use.Path, $"{used}; if both guests may write it (a cluster file system, reservations), say \"shared\": true in bdevs.{source.Name}");
                }
            }
        }
    }

    private List<BoundBdevSource> InStartingOrder(IReadOnlyList<BoundBdevSource> sources)
    {
        var ordered = new List<BoundBdevSource>();
        var done = new HashSet<BoundBdevSource>(ReferenceEqualityComparer.Instance);
        var under = new List<BoundBdevSource>();
        bool reported = false;

        void Visit(BoundBdevSource source)
        {
            int start = under.FindIndex(other => ReferenceEquals(other, source));
            if (start >= 0)
            {
                if (!reported)
                {
                    string circle = string.Join(" -> ", under.Skip(start).Append(source).Select(other => other.Name));
                    errors.Add(ManifestPath.Append("bdevs", source.Name), $"bdevs are built on each other in a circle: {circle}");
                    reported = true;
                }

                return;
            }

            if (done.Contains(source))
            {
                return;
            }

            under.Add(source);
            foreach (BdevReference reference in source.Declaration.BuildsOn)
            {
                foreach (BoundBdevSource below in sources.Where(candidate => Publishes(candidate, reference.BdevName)))
                {
                    Visit(below);
                }
            }

            under.RemoveAt(under.Count - 1);
            done.Add(source);
            ordered.Add(source);
        }

        foreach (BoundBdevSource source in sources)
        {
            Visit(source);
        }

        return ordered;
    }
}
