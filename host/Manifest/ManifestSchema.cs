using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Host.Loading;

namespace Vhost.Host.Manifest;

/// <summary>Makes the JSON Schema (draft 2020-12) of manifests, merged from the options of the plugins' parts.</summary>
internal static class ManifestSchema
{
    private const string NamePattern = "^[A-Za-z0-9._-]+$";
    private const string CpumaskPattern = @"^(0[xX])?[0-9A-Fa-f]+$|^\[[0-9, -]+\]$";

    /// <summary>Makes the schema.</summary>
    /// <param name="catalog">The plugins.</param>
    internal static JsonObject Of(PluginCatalog catalog)
    {
        var definitions = new JsonObject();
        var properties = new JsonObject
        {
            [ManifestSections.SchemaKey] = new JsonObject { ["description"] = "The JSON Schema that editors use: the output of vhostd schema.", ["type"] = "string" },
        };
        foreach ((string key, Type type) in ManifestSections.OfHost)
        {
            JsonObject section = OptionsSchema.Of(type, Activator.CreateInstance(type)!);
            if (key == "reactors")
            {
                section["properties"]![ManifestSections.CpumaskKey]!["pattern"] = CpumaskPattern;
            }

            if (key == ManifestSections.RpcKey)
            {
                section["properties"]![ManifestSections.DefaultTransportKey] = DefaultTransport(catalog);
            }

            properties[key] = Rooted(section, $"#/properties/{key}");
        }

        foreach (PartSection section in ManifestSections.OfParts)
        {
            var types = new JsonArray();
            foreach (PluginPart part in catalog.OfKind(section.Kind))
            {
                string name = $"{section.Key}-{part.TypeName}";
                definitions[name] = OfPart(part, section, $"#/$defs/{name}");
                types.Add(new JsonObject { ["$ref"] = $"#/$defs/{name}" });
            }

            var entry = new JsonObject { ["type"] = "object", ["required"] = new JsonArray(ManifestSections.TypeKey) };
            if (types.Count > 0)
            {
                entry["oneOf"] = types;
            }

            properties[section.Key] = new JsonObject
            {
                ["description"] = DescriptionOf(section.Kind),
                ["type"] = "object",
                ["patternProperties"] = new JsonObject { [NamePattern] = entry },
                ["additionalProperties"] = false,
            };
        }

        properties[ManifestSections.BdevSettingsKey] = new JsonObject
        {
            ["description"] = "What is set for bdevs, by name, whatever their type: limits and write protection.",
            ["type"] = "object",
            ["additionalProperties"] = Rooted(OptionsSchema.Of(typeof(BdevSettingsOptions), new BdevSettingsOptions()), $"#/properties/{ManifestSections.BdevSettingsKey}/additionalProperties"),
        };
        return new JsonObject
        {
            ["$schema"] = "https://json-schema.org/draft/2020-12/schema",
            ["title"] = "vhostd manifest",
            ["type"] = "object",
            ["properties"] = properties,
            ["additionalProperties"] = false,
            ["$defs"] = definitions,
        };
    }

    private static JsonObject OfPart(PluginPart part, PartSection section, string pointer)
    {
        JsonObject schema = Rooted(OptionsSchema.Of(part.Factory.OptionsType, part.Factory.CreateDefaultOptions()), pointer);
        var properties = schema["properties"] as JsonObject ?? [];
        schema["properties"] = properties;
        var required = schema["required"] as JsonArray ?? [];
        schema["required"] = required;
        foreach (string key in section.ReservedKeys.Reverse())
        {
            properties.Remove(key);
            properties.Insert(0, key, Reserved(key, part));
        }

        required.Insert(0, ManifestSections.TypeKey);
        if (section.ReservedKeys.Contains(ManifestSections.TransportKey))
        {
            required.Insert(1, ManifestSections.TransportKey);
        }

        schema["additionalProperties"] = false;
        schema.Remove("description");
        schema.Insert(0, "description", part.Factory.Description);
        return schema;
    }

    private static JsonObject Reserved(string key, PluginPart part) => key switch
    {
        ManifestSections.TypeKey => new() { ["description"] = part.Factory.Description, ["enum"] = new JsonArray(part.TypeName) },
        ManifestSections.SharedKey => new() { ["description"] = "Allow several controllers to use this bdev.", ["type"] = "boolean", ["default"] = false },
        ManifestSections.TransportKey => new() { ["description"] = "The entry of transports that serves this controller, and no other.", ["type"] = "string", ["pattern"] = NamePattern },
        ManifestSections.CoalescingKey => OptionsSchema.Of(typeof(CoalescingOptions), new CoalescingOptions()),
        _ => new() { ["description"] = "The CPUs, of reactors.cpumask, that this controller's queues are spread over. Default: all.", ["type"] = "string", ["pattern"] = CpumaskPattern },
    };

    private static JsonObject DefaultTransport(PluginCatalog catalog) => new()
    {
        ["description"] = "The transport of each controller that is created by RPC: an entry of transports, in which {controller} stands for the controller's name.",
        ["type"] = "object",
        ["required"] = new JsonArray(ManifestSections.TypeKey),
        ["properties"] = new JsonObject
        {
            [ManifestSections.TypeKey] = new JsonObject { ["enum"] = new JsonArray([.. catalog.OfKind(PartKind.Transport).Select(part => JsonValue.Create(part.TypeName))]) },
        },
    };

    private static string DescriptionOf(PartKind kind) => kind switch
    {
        PartKind.Bdev => "The sources of block devices, by name.",
        PartKind.Transport => "The ways to guests, by name: each serves one controller.",
        _ => "The devices that guests see, by name: each joins a transport with bdevs.",
    };

    /// <summary>References of a schema to itself, for options classes that nest, are made relative to where it is put.</summary>
    private static JsonObject Rooted(JsonObject schema, string pointer)
    {
        void Walk(JsonNode? node)
        {
            if (node is JsonArray array)
            {
                foreach (JsonNode? item in array)
                {
                    Walk(item);
                }
            }
            else if (node is JsonObject owner)
            {
                if (owner["$ref"] is JsonValue reference && reference.GetValue<string>() is ['#', ..] target)
                {
                    owner["$ref"] = pointer + target[1..];
                }

                foreach (JsonNode? value in owner.Select(pair => pair.Value).ToArray())
                {
                    Walk(value);
                }
            }
        }

        Walk(schema);
        // The exporter allows null for the root of a nullable reference; a section is an object.
        schema["type"] = "object";
        return schema;
    }
}
