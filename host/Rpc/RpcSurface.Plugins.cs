using System.Reflection;
using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Host.Loading;
using Vhost.Host.Manifest;

namespace Vhost.Host.Rpc;

/// <content>The methods that appear by themselves: one pair for each type of bdev that a plugin adds.</content>
internal sealed partial class RpcSurface
{
    /// <summary>The method that creates a bdev of a type from all its options.</summary>
    /// <param name="type">The type.</param>
    internal string FindCreate(string type) => Find($"vhostd_bdev_{Name(type)}_create") is { } general ? general.Name : $"bdev_{Name(type)}_create";

    private static string Name(string type) => type.Replace('-', '_').Replace('.', '_');

    private static RpcType TypeOf(PropertyInfo property)
    {
        var type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
        if (OptionsShape.DictionaryTypes(type) is not null)
        {
            return RpcType.Object;
        }

        if (OptionsShape.ElementType(type) is { } element)
        {
            return element == typeof(string) ? RpcType.StringList : RpcType.Any;
        }

        return Type.GetTypeCode(type) switch
        {
            _ when type.IsEnum => RpcType.String,
            TypeCode.Boolean => RpcType.Boolean,
            TypeCode.String => RpcType.String,
            TypeCode.SByte or TypeCode.Int16 or TypeCode.Int32 => RpcType.Int32,
            TypeCode.Byte or TypeCode.UInt16 or TypeCode.UInt32 => RpcType.UInt32,
            TypeCode.UInt64 => RpcType.UInt64,
            TypeCode.Object when OptionsShape.IsObject(type) => RpcType.Object,
            _ => RpcType.Any,
        };
    }

    /// <summary>Where SPDK has a method of the name, with parameters of its own, the type's pair is called vhostd_bdev_TYPE_create and _delete.</summary>
    private IEnumerable<RpcMethod> PluginMethods(PluginCatalog catalog, IReadOnlySet<string> taken)
    {
        foreach (var part in catalog.OfKind(PartKind.Bdev))
        {
            RpcParameter[] options;
            try
            {
                options = [.. OptionsShape.PropertiesOf(part.Factory.OptionsType)
                    .Where(option => option.Key is not ("name" or ManifestSections.TypeKey))
                    .Select(option => new RpcParameter(
                        option.Key,
                        TypeOf(option.Value),
                        OptionsShape.IsRequired(option.Value),
                        option.Value.GetCustomAttribute<System.ComponentModel.DescriptionAttribute>()?.Description ?? "See the type's options."))];
            }
            catch (Exception)
            {
                // A plugin that fails here is reported where its options are bound; it has no methods.
                continue;
            }

            var stem = taken.Contains($"bdev_{Name(part.TypeName)}_create") ? "vhostd_bdev" : "bdev";
            var type = part.TypeName;
            yield return new RpcMethod(
                RpcGroup.Bdevs,
                $"{stem}_{Name(type)}_create",
                [],
                [Required("name", RpcType.String, "The name of the source; its bdevs bear it or begin with it."), .. options],
                "array of the bdevs' names",
                $"Creates bdevs of type {type}: {part.Factory.Description}",
                arguments => CreateOfTypeAsync(type, options, arguments));
            yield return Delete($"{stem}_{Name(type)}_delete", [], SourceName, type, $"Deletes a source of bdevs of type {type}, with all its bdevs.");
        }
    }

    private Task<JsonNode?> CreateOfTypeAsync(string type, IReadOnlyList<RpcParameter> options, RpcArguments arguments)
    {
        var section = new JsonObject { [ManifestSections.TypeKey] = type };
        foreach (var option in options)
        {
            if (arguments.OptionalNode(option.Name) is { } value)
            {
                section[option.Name] = value.DeepClone();
            }
        }

        return CreateSeveralAsync(arguments.String("name"), section);
    }
}
