using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Abstractions;

namespace Vhost.Host.Manifest;

/// <summary>Makes the model's parts out of bound entries and checks what refers to what.</summary>
/// <param name="errors">Collects what is wrong.</param>
/// <param name="parts">Calls plugins.</param>
/// <param name="reactors">The manifest's reactors.</param>
/// <param name="checker">Checks the host's own options.</param>
internal sealed class ManifestGraph(ManifestErrors errors, PartBinder parts, BoundReactors reactors, OptionsChecker checker)
{
    private readonly BdevReferences _references = new(errors);
    private readonly Dictionary<string, string?> _transportUsers = new(StringComparer.Ordinal);

    /// <summary>Makes the sources.</summary>
    /// <param name="entries">The entries of <c>bdevs</c>.</param>
    internal IReadOnlyList<BoundBdevSource> BindBdevs(IReadOnlyList<PartEntry> entries)
    {
        var sources = new List<BoundBdevSource>();
        foreach (PartEntry entry in entries)
        {
            bool isShared = Flag(entry, ManifestSections.SharedKey);
            if (entry.Options is not { } options)
            {
                _references.AddBroken(entry.Name);
                continue;
            }

            var factory = (IBdevFactory)entry.Part!.Factory;
            if (parts.Call(entry, nameof(IBdevFactory.Declare), () => factory.Declare(entry.Name, options)) is not { } declaration)
            {
                _references.AddBroken(entry.Name);
                continue;
            }

            var source = new BoundBdevSource(entry.Name, entry.Part.TypeName, factory, options, declaration, isShared);
            sources.Add(source);
            _references.AddSource(entry.Path, source);
        }

        return sources;
    }

    /// <summary>Makes the transports and finds those that occupy the same endpoint.</summary>
    /// <param name="entries">The entries of <c>transports</c>.</param>
    internal IReadOnlyList<BoundTransport> BindTransports(IReadOnlyList<PartEntry> entries)
    {
        var transports = new List<BoundTransport>();
        var endpoints = new Dictionary<(string Type, string Endpoint), string>();
        foreach (PartEntry entry in entries)
        {
            _transportUsers.Add(entry.Name, null);
            if (entry.Options is not { } options)
            {
                continue;
            }

            var factory = (ITransportFactory)entry.Part!.Factory;
            if (parts.Call(entry, nameof(ITransportFactory.GetEndpoint), () => factory.GetEndpoint(options)) is not { } endpoint)
            {
                continue;
            }

            if (!endpoints.TryAdd((entry.Part.TypeName, endpoint), entry.Path))
            {
                errors.Add(entry.Path, $"{endpoint} is occupied by {endpoints[(entry.Part.TypeName, endpoint)]} already; each transport has its own");
            }

            transports.Add(new BoundTransport(entry.Name, entry.Part.TypeName, factory, options, endpoint));
        }

        return transports;
    }

    /// <summary>Makes the controllers and finds transports that are used twice or not at all.</summary>
    /// <param name="entries">The entries of <c>controllers</c>.</param>
    internal IReadOnlyList<BoundController> BindControllers(IReadOnlyList<PartEntry> entries)
    {
        var controllers = new List<BoundController>();
        foreach (PartEntry entry in entries)
        {
            string? transport = Transport(entry);
            IReadOnlyList<int> cpus = Cpus(entry);
            BoundCoalescing coalescing = Coalescing(entry);
            if (entry.Options is not { } options)
            {
                continue;
            }

            var factory = (IDeviceTypeFactory)entry.Part!.Factory;
            if (parts.Call(entry, nameof(IDeviceTypeFactory.GetBdevReferences), () => factory.GetBdevReferences(options)) is not { } references)
            {
                continue;
            }

            foreach (BdevReference reference in references)
            {
                _references.AddUse(new BdevUse(ManifestPath.Append(entry.Path, reference.OptionPath), reference.BdevName, null, entry.Part.TypeName, factory.AllowsSharedBdevs));
            }

            controllers.Add(new BoundController(entry.Name, entry.Part.TypeName, factory, options, transport ?? "", references, cpus) { Coalescing = coalescing });
        }

        foreach ((string name, string? _) in _transportUsers.Where(pair => pair.Value is null))
        {
            errors.Add(ManifestPath.Append("transports", name), "no controller uses this transport; give it one or remove it");
        }

        if (entries.Count == 0)
        {
            errors.Warn("", "there are no controllers: no guest will see a disk");
        }

        return controllers;
    }

    /// <summary>Checks the references to bdevs, and brings the sources into starting order.</summary>
    /// <param name="sources">The sources, in the manifest's order.</param>
    internal IReadOnlyList<BoundBdevSource> CheckReferences(IReadOnlyList<BoundBdevSource> sources) => _references.Check(sources);

    private string? Transport(PartEntry entry)
    {
        const string key = ManifestSections.TransportKey;
        string path = ManifestPath.Append(entry.Path, key);
        if (!entry.Section.TryGetPropertyValue(key, out JsonNode? node))
        {
            errors.Add(entry.Path, $"\"{key}\" is missing: the name of an entry of transports");
            return null;
        }

        if (node?.GetValueKind() != JsonValueKind.String)
        {
            errors.Add(path, "a string is expected: the name of an entry of transports");
            return null;
        }

        string name = node.GetValue<string>();
        if (!_transportUsers.TryGetValue(name, out string? user))
        {
            errors.Add(path, $"there is no transport \"{name}\"" + Suggestion.For(name, _transportUsers.Keys, "transports"));
            return null;
        }

        if (user is not null)
        {
            errors.Add(path, $"the transport \"{name}\" serves {user} already; each controller has its own");
            return null;
        }

        _transportUsers[name] = entry.Path;
        return name;
    }

    private IReadOnlyList<int> Cpus(PartEntry entry)
    {
        const string key = ManifestSections.CpumaskKey;
        if (!entry.Section.TryGetPropertyValue(key, out JsonNode? node))
        {
            return [];
        }

        string path = ManifestPath.Append(entry.Path, key);
        if (node?.GetValueKind() != JsonValueKind.String || !CpuMask.TryParse(node.GetValue<string>(), out IReadOnlyList<int>? cpus))
        {
            errors.Add(path, $"{node?.ToJsonString() ?? "null"} is not {CpuMask.Form}");
            return [];
        }

        int[] foreign = [.. cpus.Except(reactors.CpuIndexes)];
        if (foreign.Length > 0)
        {
            errors.Add(path, reactors.CpuIndexes.Count == 0
                ? "a controller's CPUs are some of reactors.cpumask, which is not set"
                : $"there is no reactor on CPU {string.Join(", ", foreign)}; reactors.cpumask has {string.Join(", ", reactors.CpuIndexes)}");
        }

        return cpus;
    }

    private BoundCoalescing Coalescing(PartEntry entry)
    {
        if (!entry.Section.TryGetPropertyValue(ManifestSections.CoalescingKey, out JsonNode? node))
        {
            return BoundCoalescing.None;
        }

        string path = ManifestPath.Append(entry.Path, ManifestSections.CoalescingKey);
        if (node is not JsonObject section)
        {
            errors.Add(path, "an object is expected: { \"delayBaseUs\": 50, \"iopsThreshold\": 60000 }");
            return BoundCoalescing.None;
        }

        if (!checker.Check(section, typeof(CoalescingOptions), path, []))
        {
            return BoundCoalescing.None;
        }

        var options = new CoalescingOptions();
        OptionsBinder.Bind(section, options, []);
        return new BoundCoalescing(TimeSpan.FromMicroseconds(options.DelayBaseUs), options.IopsThreshold);
    }

    private bool Flag(PartEntry entry, string key)
    {
        if (!entry.Section.TryGetPropertyValue(key, out JsonNode? node))
        {
            return false;
        }

        JsonValueKind kind = node?.GetValueKind() ?? JsonValueKind.Null;
        if (kind is not (JsonValueKind.True or JsonValueKind.False))
        {
            errors.Add(ManifestPath.Append(entry.Path, key), $"{node?.ToJsonString() ?? "null"}, but true or false is expected");
        }

        return kind == JsonValueKind.True;
    }
}
