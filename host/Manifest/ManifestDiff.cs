using System.Text.Json.Nodes;

namespace Vhost.Host.Manifest;

/// <summary>
/// Finds the steps from one valid manifest to another: as few as possible, in an order in which each can be done. What is used goes after its
/// users and comes before them. A pure function of its arguments.
/// </summary>
internal static class ManifestDiff
{
    internal const string BdevsKey = "bdevs";
    internal const string TransportsKey = "transports";
    internal const string ControllersKey = "controllers";

    /// <summary>The key of a SCSI controller's targets, which change without the controller.</summary>
    internal const string TargetsKey = "targets";

    /// <summary>The controller type that has targets.</summary>
    internal const string ScsiType = "scsi";

    /// <summary>Finds the steps.</summary>
    /// <param name="from">The running manifest.</param>
    /// <param name="to">The wanted one.</param>
    /// <param name="orderOfFrom">The sources of <paramref name="from"/>, each after those that it builds on.</param>
    /// <param name="orderOfTo">The sources of <paramref name="to"/>, likewise.</param>
    internal static IReadOnlyList<ManifestChange> Find(JsonObject from, JsonObject to, IReadOnlyList<string> orderOfFrom, IReadOnlyList<string> orderOfTo)
    {
        var removals = new List<ManifestChange>();
        var additions = new List<ManifestChange>();
        FindControllers(from, to, removals, additions);
        var (before, after) = (Section(from, BdevsKey), Section(to, BdevsKey));
        removals.AddRange(orderOfFrom.Reverse().Where(name => !after.ContainsKey(name)).Select(name => new ManifestChange(ManifestChangeKind.RemoveBdev, name)));
        return
        [
            .. removals,
            .. orderOfTo.Where(name => !JsonNode.DeepEquals(before[name], after[name]))
                .Select(name => new ManifestChange(before.ContainsKey(name) ? ManifestChangeKind.ChangeBdev : ManifestChangeKind.AddBdev, name, Value: after[name])),
            .. FindSettings(Section(from, ManifestSections.BdevSettingsKey), Section(to, ManifestSections.BdevSettingsKey)),
            .. additions,
            .. FindOthers(from, to),
        ];
    }

    private static void FindControllers(JsonObject from, JsonObject to, List<ManifestChange> removals, List<ManifestChange> additions)
    {
        var (before, after) = (Section(from, ControllersKey), Section(to, ControllersKey));
        foreach (var (name, node) in before)
        {
            if (after[name] is not JsonObject wanted || !IsSame(node!.AsObject(), wanted) || !JsonNode.DeepEquals(TransportOf(from, node!.AsObject()), TransportOf(to, wanted)))
            {
                removals.Add(new ManifestChange(ManifestChangeKind.RemoveController, name));
                if (after[name] is JsonObject again)
                {
                    additions.Add(new ManifestChange(ManifestChangeKind.AddController, name, Value: again, Transport: TransportOf(to, again)));
                }

                continue;
            }

            var running = node!.AsObject();
            var (targetsBefore, targetsAfter) = (Section(running, TargetsKey), Section(wanted, TargetsKey));
            if (IsScsi(running))
            {
                removals.AddRange(targetsBefore.Where(target => !JsonNode.DeepEquals(target.Value, targetsAfter[target.Key])).Select(target => new ManifestChange(ManifestChangeKind.RemoveTarget, name, target.Key)));
                additions.AddRange(targetsAfter.Where(target => !JsonNode.DeepEquals(target.Value, targetsBefore[target.Key])).Select(target => new ManifestChange(ManifestChangeKind.AddTarget, name, target.Key, target.Value)));
            }

            if (!JsonNode.DeepEquals(running[ManifestSections.CpumaskKey], wanted[ManifestSections.CpumaskKey]))
            {
                additions.Add(new ManifestChange(ManifestChangeKind.MoveController, name, Value: wanted[ManifestSections.CpumaskKey]));
            }

            if (!JsonNode.DeepEquals(running[ManifestSections.CoalescingKey], wanted[ManifestSections.CoalescingKey]))
            {
                additions.Add(new ManifestChange(ManifestChangeKind.SetCoalescing, name, Value: wanted[ManifestSections.CoalescingKey]));
            }
        }

        additions.AddRange(after.Where(pair => !before.ContainsKey(pair.Key))
            .Select(pair => new ManifestChange(ManifestChangeKind.AddController, pair.Key, Value: pair.Value, Transport: TransportOf(to, pair.Value!.AsObject()))));
    }

    private static IEnumerable<ManifestChange> FindSettings(JsonObject before, JsonObject after) =>
        before.Select(pair => pair.Key).Union(after.Select(pair => pair.Key))
            .Where(name => !JsonNode.DeepEquals(before[name], after[name]))
            .Select(name => new ManifestChange(ManifestChangeKind.SetBdev, name, Value: after[name]));

    private static IEnumerable<ManifestChange> FindOthers(JsonObject from, JsonObject to)
    {
        var (before, after) = (Section(from, ManifestSections.RpcKey)[ManifestSections.DefaultTransportKey], Section(to, ManifestSections.RpcKey)[ManifestSections.DefaultTransportKey]);
        if (!JsonNode.DeepEquals(before, after))
        {
            yield return new ManifestChange(ManifestChangeKind.SetDefaultTransport, ManifestSections.RpcKey, Value: after);
        }

        foreach (var key in ManifestSections.OfHost.Keys)
        {
            if (!JsonNode.DeepEquals(WithoutLive(from[key], key), WithoutLive(to[key], key)))
            {
                yield return new ManifestChange(ManifestChangeKind.NeedsRestart, key, Value: to[key]);
            }
        }
    }

    /// <summary>A section of the host's without what changes live; null where nothing is left.</summary>
    private static JsonObject? WithoutLive(JsonNode? node, string key)
    {
        if (node?.DeepClone() is not JsonObject section)
        {
            return null;
        }

        if (key == ManifestSections.RpcKey)
        {
            section.Remove(ManifestSections.DefaultTransportKey);
        }

        return section.Count == 0 ? null : section;
    }

    /// <summary>Whether two sections of a controller differ at most in what changes while it runs.</summary>
    private static bool IsSame(JsonObject left, JsonObject right)
    {
        JsonObject Fixed(JsonObject section)
        {
            var rest = section.DeepClone().AsObject();
            rest.Remove(ManifestSections.CpumaskKey);
            rest.Remove(ManifestSections.CoalescingKey);
            if (IsScsi(section))
            {
                rest.Remove(TargetsKey);
            }

            return rest;
        }

        return JsonNode.DeepEquals(Fixed(left), Fixed(right));
    }

    private static bool IsScsi(JsonObject controller) => controller[ManifestSections.TypeKey]?.GetValue<string>() == ScsiType;

    private static JsonNode? TransportOf(JsonObject root, JsonObject controller) => root[TransportsKey]?[controller[ManifestSections.TransportKey]!.GetValue<string>()];

    private static JsonObject Section(JsonObject owner, string key) => owner[key] as JsonObject ?? [];
}
