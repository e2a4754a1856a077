using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vhost.Host.Rpc;

/// <summary>The arguments of a call, checked against the method's parameters: no unknown key, no key twice, every type right.</summary>
internal sealed class RpcArguments
{
    private readonly Dictionary<string, object> _values;

    private RpcArguments(Dictionary<string, object> values) => _values = values;

    /// <summary>Checks and takes the arguments of a call.</summary>
    /// <param name="method">The method.</param>
    /// <param name="json">Its <c>params</c>: an object, or nothing.</param>
    /// <exception cref="RpcException">They do not fit; all faults are named.</exception>
    internal static RpcArguments Decode(RpcMethod method, JsonElement json)
    {
        var values = new Dictionary<string, object>(StringComparer.Ordinal);
        var faults = new List<string>();
        if (json.ValueKind == JsonValueKind.Object)
        {
            foreach (var property in json.EnumerateObject())
            {
                if (!HasText(property))
                {
                    faults.Add("a parameter's name is no text");
                }
                else if (method.Parameters.FirstOrDefault(known => known.Name == property.Name) is not { } parameter)
                {
                    faults.Add($"unknown parameter \"{Shorten(property.Name)}\"");
                }
                else if (!TryConvert(property.Value, parameter.Type, out var value))
                {
                    faults.Add($"\"{parameter.Name}\" is not {Describe(parameter.Type)}");
                }
                else if (parameter.IsUnused && !IsNothing(value))
                {
                    faults.Add($"\"{parameter.Name}\" asks for what vhostd does not have; leave it out");
                }
                else if (!values.TryAdd(parameter.Name, value))
                {
                    faults.Add($"\"{parameter.Name}\" is there twice");
                }
            }
        }
        else if (json.ValueKind != JsonValueKind.Undefined)
        {
            faults.Add("params is an object with named parameters");
        }

        faults.AddRange(method.Parameters
            .Where(parameter => parameter.IsRequired && !values.ContainsKey(parameter.Name))
            .Select(parameter => $"\"{parameter.Name}\" is missing"));
        if (faults.Count == 0)
        {
            return new RpcArguments(values);
        }

        var known = method.Parameters.Count == 0 ? "it has no parameters" : $"its parameters: {string.Join(", ", method.Parameters.Select(parameter => parameter.Name))}";
        var detail = $"{method.Name}: {string.Join("; ", faults.Take(8))}; {known}";
        throw method.Group == RpcGroup.Controllers ? RpcException.InvalidArgument(detail) : RpcException.InvalidParameters(detail);
    }

    /// <summary>What a type is called, for people.</summary>
    /// <param name="type">The type.</param>
    internal static string Describe(RpcType type) => type switch
    {
        RpcType.String => "a string",
        RpcType.Int32 => "a whole number from -2147483648 to 2147483647",
        RpcType.UInt32 => "a whole number from 0 to 4294967295",
        RpcType.UInt64 => "a whole number from 0 to 18446744073709551615",
        RpcType.StringList => "an array of strings",
        RpcType.UInt64List => "an array of whole numbers from 0 to 18446744073709551615",
        RpcType.Object => "an object",
        RpcType.Any => "a value",
        _ => "true or false",
    };

    internal string String(string name) => (string)_values[name];

    internal string? OptionalString(string name) => _values.GetValueOrDefault(name) as string;

    internal int Int32(string name) => (int)_values[name];

    internal uint UInt32(string name) => (uint)_values[name];

    internal uint? OptionalUInt32(string name) => _values.TryGetValue(name, out var value) ? (uint)value : null;

    internal int? OptionalInt32(string name) => _values.TryGetValue(name, out var value) ? (int)value : null;

    internal ulong UInt64(string name) => (ulong)_values[name];

    internal ulong? OptionalUInt64(string name) => _values.TryGetValue(name, out var value) ? (ulong)value : null;

    internal IReadOnlyList<string>? OptionalStrings(string name) => _values.GetValueOrDefault(name) as IReadOnlyList<string>;

    internal IReadOnlyList<ulong> UInt64s(string name) => (IReadOnlyList<ulong>)_values[name];

    internal JsonObject Object(string name) => (JsonObject)_values[name];

    internal JsonNode? OptionalNode(string name) => _values.GetValueOrDefault(name) switch
    {
        null => null,
        JsonNode json => json,
        IReadOnlyList<string> texts => new JsonArray([.. texts.Select(text => JsonValue.Create(text))]),
        IReadOnlyList<ulong> numbers => new JsonArray([.. numbers.Select(number => JsonValue.Create(number))]),
        var value => JsonSerializer.SerializeToNode(value),
    };

    internal bool Boolean(string name, bool byDefault) => _values.TryGetValue(name, out var value) ? (bool)value : byDefault;

    /// <summary>What a client sends that wants nothing.</summary>
    private static bool IsNothing(object value) => value is false or 0 or -1 or 0U or 0UL or "" || value is IReadOnlyList<string> { Count: 0 };

    private static bool HasText(JsonProperty property)
    {
        try
        {
            return property.Name.Length >= 0;
        }
        catch (InvalidOperationException)
        {
            // Half of a surrogate pair.
            return false;
        }
    }

    private static bool TryConvert(JsonElement json, RpcType type, out object value)
    {
        value = "";
        switch (type)
        {
            case RpcType.String when json.ValueKind == JsonValueKind.String:
                try
                {
                    value = json.GetString()!;
                }
                catch (InvalidOperationException)
                {
                    // Half of a surrogate pair: no text.
                    return false;
                }

                return true;
            case RpcType.Int32 when json.ValueKind == JsonValueKind.Number && json.TryGetInt32(out var int32):
                value = int32;
                return true;
            case RpcType.UInt32 when json.ValueKind == JsonValueKind.Number && json.TryGetUInt32(out var uint32):
                value = uint32;
                return true;
            case RpcType.UInt64 when json.ValueKind == JsonValueKind.Number && json.TryGetUInt64(out var uint64):
                value = uint64;
                return true;
            case RpcType.StringList when json.ValueKind == JsonValueKind.Array:
                var texts = new List<string>();
                foreach (var item in json.EnumerateArray())
                {
                    if (!TryConvert(item, RpcType.String, out var text))
                    {
                        return false;
                    }

                    texts.Add((string)text);
                }

                value = texts;
                return true;
            case RpcType.UInt64List when json.ValueKind == JsonValueKind.Array:
                var numbers = new List<ulong>();
                foreach (var item in json.EnumerateArray())
                {
                    if (!TryConvert(item, RpcType.UInt64, out var number))
                    {
                        return false;
                    }

                    numbers.Add((ulong)number);
                }

                value = numbers;
                return true;
            case RpcType.Any:
                var node = JsonSerializer.SerializeToNode(json);
                if (node is null || !IsText(new JsonObject { ["value"] = node }))
                {
                    return false;
                }

                value = node;
                return true;
            case RpcType.Object when json.ValueKind == JsonValueKind.Object:
                if (JsonObject.Create(json) is not { } created || !IsText(created))
                {
                    return false;
                }

                value = created;
                return true;
            case RpcType.Boolean when json.ValueKind is JsonValueKind.True or JsonValueKind.False:
                value = json.GetBoolean();
                return true;
            default:
                return false;
        }
    }

    /// <summary>Whether every string in it is one; half of a surrogate pair is none. Keys twice are none either.</summary>
    private static bool IsText(JsonObject json)
    {
        try
        {
            return json.ToJsonString().Length > 0;
        }
        catch (Exception exception) when (exception is InvalidOperationException or ArgumentException)
        {
            return false;
        }
    }

    private static string Shorten(string text) => text.Length <= 60 ? text : text[..57] + "...";
}
