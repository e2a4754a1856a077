using System.Composition;
using System.Composition.Hosting;
using System.Reflection;
using System.Text.RegularExpressions;
using Vhost.Abstractions;
using Vhost.Host.Manifest;

namespace Vhost.Host.Loading;

/// <summary>
/// Gets the factories out of a plugin's assembly. Each plugin has a composition container of its own, so that a broken plugin breaks itself alone.
/// </summary>
/// <param name="location">The plugin.</param>
/// <param name="problems">Takes what is wrong.</param>
internal sealed partial class PluginComposer(PluginLocation location, List<PluginProblem> problems)
{
    private readonly List<PluginPart> _parts = [];

    /// <summary>Composes the parts of an assembly.</summary>
    /// <param name="assembly">The plugin's assembly.</param>
    /// <returns>The parts that work; where there is none, the problems say why.</returns>
    internal IReadOnlyList<PluginPart> Compose(Assembly assembly)
    {
        Type[] types;
        try
        {
            types = assembly.GetTypes();
        }
        catch (ReflectionTypeLoadException exception)
        {
            problems.Add(TypeLoadFailure.Describe(location, exception.LoaderExceptions));
            return [];
        }

        try
        {
            // The container lives as long as its parts: they are used until the process ends.
            CompositionHost container = new ContainerConfiguration().WithParts(types).CreateContainer();
            Collect<IBdevFactory>(container, PartKind.Bdev);
            Collect<IDeviceTypeFactory>(container, PartKind.DeviceType);
            Collect<ITransportFactory>(container, PartKind.Transport);
        }
        catch (Exception exception) when (TypeLoadFailure.IsOne(exception))
        {
            problems.Add(TypeLoadFailure.Describe(location, [exception]));
            return [];
        }
        catch (Exception exception)
        {
            problems.Add(new(PluginProblemCode.CompositionFailed, location.Id, location.File,
                $"its parts cannot be composed: {exception.Message.TrimEnd('.')}",
                "The plugin has to be corrected: a factory has one public constructor without parameters and exports what it implements"));
            return [];
        }

        if (_parts.Count == 0 && !problems.Exists(problem => problem.PluginId == location.Id && !problem.IsWarning))
        {
            problems.Add(new(PluginProblemCode.NoExport, location.Id, location.File,
                $"the assembly exports no bdev, device type or transport; {Implementations.Describe(types)}",
                "Mark the factory with [ExportBdev(\"type\")], [ExportDeviceType(\"type\")] or [ExportTransport(\"type\")]"));
        }

        return _parts;
    }

    private void Collect<TFactory>(CompositionHost container, PartKind kind)
        where TFactory : IPartFactory
    {
        foreach (ExportFactory<TFactory, IDictionary<string, object>> export in container.GetExports<ExportFactory<TFactory, IDictionary<string, object>>>())
        {
            if (CheckMetadata(export.Metadata, kind) is not { } typeName)
            {
                continue;
            }

            try
            {
                TFactory factory = export.CreateExport().Value;
                string[] taken = [.. ManifestSections.ReservedKeys(kind).Intersect(OptionsShape.PropertiesOf(factory.OptionsType).Keys)];
                if (taken.Length > 0)
                {
                    problems.Add(Bad($"the options of {typeName} have the key \"{taken[0]}\", which the host has for itself", "Rename the property") with { TypeNames = [typeName] });
                    continue;
                }

                _parts.Add(new(kind, typeName, factory, location.Id, location.File));
            }
            catch (Exception exception) when (TypeLoadFailure.IsOne(exception))
            {
                problems.Add(TypeLoadFailure.Describe(location, [exception]) with { TypeNames = [typeName] });
            }
            catch (Exception exception)
            {
                Exception cause = exception is TargetInvocationException { InnerException: { } inner } ? inner : exception;
                problems.Add(new(PluginProblemCode.CompositionFailed, location.Id, location.File,
                    $"the factory of {typeName} cannot be made: {cause.GetType().FullName}: {cause.Message.TrimEnd('.')}",
                    "The plugin has to be corrected: a factory's constructor has no side effects and does not fail") { TypeNames = [typeName] });
            }
        }
    }

    private string? CheckMetadata(IDictionary<string, object> metadata, PartKind kind)
    {
        string? typeName = metadata.TryGetValue(nameof(ExportBdevAttribute.TypeName), out object? name) ? name as string : null;
        int? major = metadata.TryGetValue(nameof(ExportBdevAttribute.ContractMajor), out object? majorValue) ? majorValue as int? : null;
        int? minor = metadata.TryGetValue(nameof(ExportBdevAttribute.ContractMinor), out object? minorValue) ? minorValue as int? : null;
        if (typeName is null || major is null || minor is null)
        {
            problems.Add(Bad($"a factory is exported as {kind} without type name and contract version",
                $"Export it with [Export{kind}(\"type\")], not with [Export] itself"));
            return null;
        }

        if (!TypeNamePattern().IsMatch(typeName))
        {
            problems.Add(Bad($"the type name \"{typeName}\" is not made of a-z, 0-9 and '-'", "Rename the type"));
            return null;
        }

        if (major != ContractVersion.Major || minor > ContractVersion.Minor)
        {
            problems.Add(Bad($"{typeName} is exported for contract {major}.{minor}, the host offers {ContractVersion.Major}.{ContractVersion.Minor}",
                "Leave the contract version of the export attribute at its default") with { TypeNames = [typeName] });
            return null;
        }

        return typeName;
    }

    private PluginProblem Bad(string reason, string remedy) => new(PluginProblemCode.BadExport, location.Id, location.File, reason, remedy);

    [GeneratedRegex("^[a-z0-9-]+$")]
    private static partial Regex TypeNamePattern();
}
