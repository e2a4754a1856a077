using System.Collections.Immutable;
using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Vhost.Host.Manifest;

/// <summary>Makes the JSON Schema of an options class, with descriptions, ranges, required keys and defaults.</summary>
internal static class OptionsSchema
{
    private static readonly JsonSerializerOptions Serializer = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        NumberHandling = JsonNumberHandling.Strict,
        RespectNullableAnnotations = true,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase, allowIntegerValues: false) },
        TypeInfoResolver = new DefaultJsonTypeInfoResolver { Modifiers = { KeepSettable } },
    };

    /// <summary>Makes the schema of a class.</summary>
    /// <param name="type">The options class.</param>
    /// <param name="defaults">Options that hold their defaults.</param>
    internal static JsonObject Of(Type type, object defaults)
    {
        var exporter = new JsonSchemaExporterOptions
        {
            TreatNullObliviousAsNonNullable = true,
            TransformSchemaNode = (context, schema) => Transform(context, schema, type, defaults),
        };
        JsonObject schema = Serializer.GetJsonSchemaAsNode(type, exporter).AsObject();
        return Inline(schema, schema, []).AsObject();
    }

    /// <summary>
    /// The exporter writes a type once and points to that place from others. Pointers into properties are beyond many editors, so each is
    /// replaced by what it points to, unless the type nests in itself.
    /// </summary>
    private static JsonNode Inline(JsonNode node, JsonObject root, ImmutableStack<string> within)
    {
        switch (node)
        {
            case JsonObject owner when owner["$ref"] is JsonValue reference && !within.Contains(reference.GetValue<string>()):
                string pointer = reference.GetValue<string>();
                JsonNode? target = pointer.Split('/').Skip(1).Aggregate((JsonNode?)root, (place, step) => place is JsonArray array ? array[int.Parse(step, CultureInfo.InvariantCulture)] : place?[step]);
                JsonObject merged = Inline(target!, root, within.Push(pointer)).AsObject();
                foreach ((string key, JsonNode? value) in owner.Where(pair => pair.Key != "$ref"))
                {
                    merged[key] = value?.DeepClone();
                }

                return merged;
            case JsonObject owner:
                var result = new JsonObject();
                foreach ((string key, JsonNode? value) in owner)
                {
                    result[key] = value is null ? null : Inline(value, root, within);
                }

                return result;
            case JsonArray array:
                return new JsonArray([.. array.Select(item => item is null ? null : Inline(item, root, within))]);
            default:
                return node.DeepClone();
        }
    }

    /// <summary>Only properties with a public setter are options.</summary>
    private static void KeepSettable(JsonTypeInfo info)
    {
        for (int i = info.Properties.Count - 1; i >= 0; i--)
        {
            if (info.Properties[i].AttributeProvider is not PropertyInfo { SetMethod.IsPublic: true })
            {
                info.Properties.RemoveAt(i);
            }
        }
    }

    private static JsonNode Transform(JsonSchemaExporterContext context, JsonNode schema, Type root, object defaults)
    {
        if (schema is not JsonObject node)
        {
            return schema;
        }

        if (context.PropertyInfo is null && context.TypeInfo.Kind == JsonTypeInfoKind.Object)
        {
            Require(context.TypeInfo, node);
        }

        if (context.PropertyInfo is { AttributeProvider: PropertyInfo property })
        {
            if (context.TypeInfo.Kind == JsonTypeInfoKind.Object)
            {
                Require(context.TypeInfo, node);
            }

            if (property.GetCustomAttribute<RangeAttribute>() is { } range)
            {
                node["minimum"] = JsonSerializer.SerializeToNode(range.Minimum);
                node["maximum"] = JsonSerializer.SerializeToNode(range.Maximum);
            }

            if (property.DeclaringType!.IsAssignableFrom(root) && property.GetValue(defaults) is { } value && !OptionsShape.IsRequired(property))
            {
                node["default"] = JsonSerializer.SerializeToNode(value, property.PropertyType, Serializer);
            }

            if (property.GetCustomAttribute<DescriptionAttribute>() is { } description)
            {
                // First, because people read it first.
                node.Insert(0, "description", description.Description);
            }
        }

        return node;
    }

    private static void Require(JsonTypeInfo type, JsonObject node)
    {
        string[] required = [.. type.Properties.Where(property => property.AttributeProvider is PropertyInfo info && OptionsShape.IsRequired(info)).Select(property => property.Name)];
        node.Remove("required");
        if (required.Length > 0)
        {
            node["required"] = new JsonArray([.. required.Select(name => JsonValue.Create(name))]);
        }
    }
}
