using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Host.Loading;

namespace Vhost.Host.Manifest;

/// <summary>Finds the type of each entry of a section, and checks, binds and validates its options.</summary>
/// <param name="tree">The manifest.</param>
/// <param name="errors">Collects what is wrong.</param>
/// <param name="checker">Checks options.</param>
/// <param name="catalog">The plugins.</param>
internal sealed class PartBinder(ManifestTree tree, ManifestErrors errors, OptionsChecker checker, PluginCatalog catalog)
{
    /// <summary>Binds all entries of a section, in their order.</summary>
    /// <param name="section">The section.</param>
    internal IReadOnlyList<PartEntry> Bind(PartSection section)
    {
        var entries = new List<PartEntry>();
        foreach ((string name, JsonNode? node) in (tree.Root[section.Key] as JsonObject)?.ToArray() ?? [])
        {
            string path = ManifestPath.Append(section.Key, name);
            if (node is not JsonObject own)
            {
                errors.Add(path, "an object is expected: { \"type\": ... }");
                entries.Add(new PartEntry(name, path, [], null, null));
                continue;
            }

            PluginPart? part = FindPart(section, own, path);
            object? options = part is null ? null : BindOptions(section, own, part, path);
            entries.Add(new PartEntry(name, path, own, part, options));
        }

        return entries;
    }

    /// <summary>Calls a plugin's method; what it throws becomes a fault of the entry.</summary>
    /// <typeparam name="T">The result.</typeparam>
    /// <param name="entry">The entry.</param>
    /// <param name="what">What is called, for the message.</param>
    /// <param name="call">The call.</param>
    internal T? Call<T>(PartEntry entry, string what, Func<T> call)
        where T : class
    {
        try
        {
            if (call() is { } result)
            {
                return result;
            }

            errors.Add(entry.Path, $"plugin {entry.Part!.PluginId} ({entry.Part.PluginFile}) gives null from {what}; the plugin has to be corrected");
        }
        catch (Exception exception)
        {
            errors.Add(entry.Path, $"plugin {entry.Part!.PluginId} ({entry.Part.PluginFile}) failed in {what}: {exception.GetType().Name}: {exception.Message.TrimEnd('.')}");
        }

        return null;
    }

    private PluginPart? FindPart(PartSection section, JsonObject own, string path)
    {
        string[] valid = [.. catalog.OfKind(section.Kind).Select(part => part.TypeName)];
        string typePath = ManifestPath.Append(path, ManifestSections.TypeKey);
        JsonNode? node = own[ManifestSections.TypeKey];
        if (node is null)
        {
            errors.Add(path, $"\"{ManifestSections.TypeKey}\" is missing; valid types: {string.Join(", ", valid)}");
            return null;
        }

        if (node.GetValueKind() != JsonValueKind.String)
        {
            errors.Add(typePath, $"a string is expected; valid types: {string.Join(", ", valid)}");
            return null;
        }

        string typeName = node.GetValue<string>();
        if (catalog.Find(section.Kind, typeName) is { } part)
        {
            return part;
        }

        // A type that is there but broken: say what is wrong with it, not that it is unknown.
        PluginProblem[] problems = [.. catalog.Problems.Where(problem => !problem.IsWarning
            && (problem.TypeNames.Contains(typeName) || (problem.TypeNames.Count == 0 && problem.PluginId == typeName)))];
        errors.Add(typePath, problems.Length > 0
            ? $"the type \"{typeName}\" cannot be used: {string.Join(" ", problems.Select(problem => problem.ToString()))}"
            : $"unknown type \"{typeName}\"" + Suggestion.For(typeName, valid, "types"));
        return null;
    }

    private object? BindOptions(PartSection section, JsonObject own, PluginPart part, string path)
    {
        var entry = new PartEntry(path, path, own, part, null);
        if (Call(entry, nameof(IPartFactory.OptionsType), () => part.Factory.OptionsType) is not { } type
            || !checker.Check(own, type, path, section.ReservedKeys)
            || Call(entry, nameof(IPartFactory.CreateDefaultOptions), part.Factory.CreateDefaultOptions) is not { } options)
        {
            return null;
        }

        try
        {
            OptionsBinder.Bind(own, options, section.ReservedKeys);
        }
        catch (Exception exception) when (exception is InvalidOperationException or System.Reflection.TargetInvocationException)
        {
            errors.Add(path, $"the options cannot be bound: {exception.Message.TrimEnd('.')}");
            return null;
        }

        int before = errors.Count;
        return Call(entry, nameof(IPartFactory.Validate), () =>
        {
            part.Factory.Validate(options, new Collector(errors, path));
            return options;
        }) is not null && errors.Count == before ? options : null;
    }

    private sealed class Collector(ManifestErrors errors, string path) : IOptionsErrors
    {
        public void Add(string optionPath, string message) =>
            errors.Add(string.IsNullOrEmpty(optionPath) ? path : ManifestPath.Append(path, optionPath), message);
    }
}

/// <summary>One entry of a section.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Path">Where it is.</param>
/// <param name="Section">Its JSON.</param>
/// <param name="Part">Its type, or null if that is unknown.</param>
/// <param name="Options">Its bound and valid options, or null if they have faults.</param>
internal sealed record PartEntry(string Name, string Path, JsonObject Section, PluginPart? Part, object? Options);
