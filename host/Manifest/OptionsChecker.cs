using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vhost.Host.Manifest;

/// <summary>
/// Checks a section of the tree against an options class: unknown keys, the kind of each value, required keys, ranges. It looks at the
/// tree because configuration, which the options are bound from, holds nothing but strings.
/// </summary>
/// <param name="tree">The manifest.</param>
/// <param name="errors">Collects what is wrong.</param>
internal sealed class OptionsChecker(ManifestTree tree, ManifestErrors errors)
{
    /// <summary>Checks an object against a class.</summary>
    /// <param name="section">The object.</param>
    /// <param name="type">The options class.</param>
    /// <param name="path">Where the object is.</param>
    /// <param name="reservedKeys">Keys that are the host's own here.</param>
    /// <returns>Whether it can be bound.</returns>
    internal bool Check(JsonObject section, Type type, string path, IReadOnlyCollection<string> reservedKeys)
    {
        int before = errors.Count;
        IReadOnlyDictionary<string, PropertyInfo> properties = OptionsShape.PropertiesOf(type);
        foreach (string key in section.Select(pair => pair.Key).ToArray())
        {
            string inner = ManifestPath.Append(path, key);
            if (reservedKeys.Contains(key))
            {
                continue;
            }

            if (!properties.TryGetValue(key, out PropertyInfo? property))
            {
                errors.Add(inner, "unknown key" + Suggestion.For(key, properties.Keys.Concat(reservedKeys), "keys"));
            }
            else if (section[key] is null)
            {
                if (!OptionsShape.IsNullable(property))
                {
                    errors.Add(inner, $"null, but {Expected(property.PropertyType)} is expected; leave the key out to get the default");
                }
            }
            else
            {
                CheckValue(section[key]!, property.PropertyType, inner, property);
            }
        }

        foreach ((string key, PropertyInfo property) in properties)
        {
            if (!section.ContainsKey(key) && OptionsShape.IsRequired(property))
            {
                errors.Add(path, $"\"{key}\" is missing: {Expected(property.PropertyType, property.GetCustomAttribute<RangeAttribute>())} is required");
            }
        }

        return errors.Count == before;
    }

    private void CheckValue(JsonNode node, Type declared, string path, PropertyInfo? property)
    {
        Type type = Nullable.GetUnderlyingType(declared) ?? declared;
        if (OptionsShape.DictionaryTypes(type) is var (keyType, valueType))
        {
            CheckDictionary(node, keyType, valueType, path);
        }
        else if (OptionsShape.ElementType(type) is { } elementType)
        {
            CheckList(node, elementType, path);
        }
        else if (OptionsShape.IsObject(type))
        {
            if (node is JsonObject section)
            {
                Check(section, type, path, []);
            }
            else
            {
                Mismatch(node, type, path);
            }
        }
        else
        {
            CheckScalar(node, type, path, property);
        }
    }

    private void CheckDictionary(JsonNode node, Type keyType, Type valueType, string path)
    {
        if (node is not JsonObject section)
        {
            errors.Add(path, $"{Kind(node)}, but an object is expected");
            return;
        }

        foreach (string key in section.Select(pair => pair.Key).ToArray())
        {
            string inner = ManifestPath.Append(path, key);
            if (key.Contains(':', StringComparison.Ordinal) || key.Length == 0)
            {
                errors.Add(inner, "a key is not empty and has no ':'");
            }
            else if (keyType != typeof(string) && !TryConvert(key, keyType, out _))
            {
                errors.Add(inner, $"the key \"{key}\" is not {Expected(keyType)}");
            }

            if (section[key] is { } value)
            {
                CheckValue(value, valueType, inner, null);
            }
            else
            {
                errors.Add(inner, $"null, but {Expected(valueType)} is expected");
            }
        }

        foreach (var group in section.Select(pair => pair.Key).GroupBy(key => key, StringComparer.OrdinalIgnoreCase).Where(group => group.Count() > 1))
        {
            errors.Add(path, $"the keys {string.Join(" and ", group.Select(key => $"\"{key}\""))} differ only in case");
        }
    }

    private void CheckList(JsonNode node, Type elementType, string path)
    {
        if (node is not JsonArray array)
        {
            errors.Add(path, $"{Kind(node)}, but a list is expected: [{Kind(node)}]");
            return;
        }

        for (int i = 0; i < array.Count; i++)
        {
            string inner = ManifestPath.Append(path, i.ToString(CultureInfo.InvariantCulture));
            if (array[i] is { } value)
            {
                CheckValue(value, elementType, inner, null);
            }
            else
            {
                errors.Add(inner, $"null, but {Expected(elementType)} is expected");
            }
        }
    }

    private void CheckScalar(JsonNode node, Type type, string path, PropertyInfo? property)
    {
        if (type == typeof(string) && tree.OverrideText(path) is { } text && node.GetValueKind() is not JsonValueKind.String)
        {
            // An override has no JSON type: --set bdevs.Malloc0.serial=0815 means the text.
            var replacement = JsonValue.Create(text);
            node.ReplaceWith(replacement);
            node = replacement;
        }

        JsonValueKind kind = node.GetValueKind();
        bool kindFits = type == typeof(bool) ? kind is JsonValueKind.True or JsonValueKind.False
            : IsNumber(type) ? kind is JsonValueKind.Number
            : kind is JsonValueKind.String;
        if (!kindFits)
        {
            Mismatch(node, type, path);
            return;
        }

        string written = kind == JsonValueKind.String ? node.GetValue<string>() : node.ToJsonString();
        if (!TryConvert(written, type, out object? value))
        {
            errors.Add(path, type.IsEnum
                ? $"\"{written}\" is none of the values" + Suggestion.For(written, Enum.GetNames(type).Select(OptionsShape.KeyOf), "values")
                : $"{Show(node)} is not {Expected(type)}");
            return;
        }

        foreach (ValidationAttribute attribute in property?.GetCustomAttributes<ValidationAttribute>() ?? [])
        {
            if (!attribute.IsValid(value))
            {
                errors.Add(path, attribute switch
                {
                    RequiredAttribute => $"empty, but {Expected(type)} is required",
                    RangeAttribute range => $"{Show(node)} is not within {Number(range.Minimum)} to {Number(range.Maximum)}",
                    _ => attribute.FormatErrorMessage(OptionsShape.KeyOf(property!.Name)).TrimEnd('.'),
                });
            }
        }
    }

    private void Mismatch(JsonNode node, Type type, string path)
    {
        string hint = IsNumber(type) && node.GetValueKind() == JsonValueKind.String && TryConvert(node.GetValue<string>(), type, out _) ? "; leave the quotes away"
            : type == typeof(bool) && node.GetValueKind() == JsonValueKind.String && bool.TryParse(node.GetValue<string>(), out _) ? "; leave the quotes away"
            : "";
        errors.Add(path, $"{Kind(node)} {Show(node)}, but {Expected(type)} is expected{hint}");
    }

    private static bool TryConvert(string text, Type type, out object? value)
    {
        value = null;
        CultureInfo culture = CultureInfo.InvariantCulture;
        try
        {
            if (type.IsEnum)
            {
                string? name = Array.Find(Enum.GetNames(type), name => OptionsShape.KeyOf(name) == text);
                value = name is null ? null : Enum.Parse(type, name);
            }
            else if (type == typeof(double) || type == typeof(float) || type == typeof(decimal))
            {
                value = Convert.ChangeType(double.Parse(text, NumberStyles.Float, culture), type, culture);
            }
            else if (IsNumber(type))
            {
                value = Convert.ChangeType(decimal.Parse(text, NumberStyles.AllowLeadingSign, culture), type, culture);
            }
            else
            {
                value = type == typeof(string) ? text
                    : type == typeof(byte[]) ? Convert.FromBase64String(text)
                    : System.ComponentModel.TypeDescriptor.GetConverter(type).ConvertFromInvariantString(text);
            }
        }
        catch (Exception exception) when (exception is FormatException or OverflowException or ArgumentException or NotSupportedException or InvalidCastException)
        {
            return false;
        }

        return value is not null;
    }

    private static bool IsNumber(Type type) => !type.IsEnum && Type.GetTypeCode(type) is >= TypeCode.SByte and <= TypeCode.Decimal;

    private static string Number(object number) => Convert.ToString(number, CultureInfo.InvariantCulture)!;

    private static string Show(JsonNode node) => node.ToJsonString() is { Length: <= 60 } text ? text : node.ToJsonString()[..57] + "...";

    private static string Kind(JsonNode node) => node.GetValueKind() switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => "a string",
        JsonValueKind.Number => "a number",
        _ => "a truth value",
    };

    /// <summary>What a type looks like in a manifest, for messages.</summary>
    internal static string Expected(Type declared, RangeAttribute? range = null)
    {
        Type type = Nullable.GetUnderlyingType(declared) ?? declared;
        return type.IsEnum ? "one of " + string.Join(", ", Enum.GetNames(type).Select(OptionsShape.KeyOf))
            : type == typeof(string) ? "a string"
            : type == typeof(bool) ? "true or false"
            : type == typeof(TimeSpan) ? "a time span like \"00:00:05\""
            : type == typeof(Guid) ? "a UUID"
            : type == typeof(byte[]) ? "a string in base64"
            : type == typeof(double) || type == typeof(float) || type == typeof(decimal) ? "a number"
            : IsNumber(type) ? $"a whole number from {(range is null ? Bound(type, "MinValue") : Number(range.Minimum))} to {(range is null ? Bound(type, "MaxValue") : Number(range.Maximum))}"
            : OptionsShape.DictionaryTypes(type) is not null || OptionsShape.IsObject(type) ? "an object"
            : OptionsShape.ElementType(type) is not null ? "a list"
            : $"a {type.Name}";
    }

    private static string Bound(Type type, string field) => Number(type.GetField(field)!.GetValue(null)!);
}
