using System.Collections;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json;

namespace Vhost.Host.Manifest;

/// <summary>
/// How an options class is written in a manifest: a class is an object whose keys are its settable properties in camelCase, a
/// dictionary an object with free keys, a list an array, everything else a single value.
/// </summary>
internal static class OptionsShape
{
    /// <summary>The settable properties of an options class, by their keys.</summary>
    /// <param name="type">The class.</param>
    internal static IReadOnlyDictionary<string, PropertyInfo> PropertiesOf(Type type) =>
        type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .Where(property => property.SetMethod is { IsPublic: true } && property.GetIndexParameters().Length == 0)
            .ToDictionary(property => KeyOf(property.Name), StringComparer.Ordinal);

    /// <summary>The key of a property or enum member: its name in camelCase.</summary>
    /// <param name="name">The name in code.</param>
    internal static string KeyOf(string name) => JsonNamingPolicy.CamelCase.ConvertName(name);

    /// <summary>Key and value type of a dictionary, or null.</summary>
    /// <param name="type">Any type.</param>
    internal static (Type Key, Type Value)? DictionaryTypes(Type type) =>
        Generic(type, typeof(IDictionary<,>), typeof(IReadOnlyDictionary<,>)) is { } dictionary
            ? (dictionary.GetGenericArguments()[0], dictionary.GetGenericArguments()[1])
            : null;

    /// <summary>The element type of a list, or null.</summary>
    /// <param name="type">Any type.</param>
    internal static Type? ElementType(Type type) =>
        type == typeof(string) || type == typeof(byte[]) || !typeof(IEnumerable).IsAssignableFrom(type)
            ? null
            : Generic(type, typeof(IEnumerable<>))?.GetGenericArguments()[0];

    /// <summary>Whether a type is written as an object with its own keys.</summary>
    /// <param name="type">Any type.</param>
    internal static bool IsObject(Type type) =>
        type.IsClass && type != typeof(string) && type != typeof(Uri) && type != typeof(object) && type != typeof(Version) && !type.IsArray
        && !typeof(IEnumerable).IsAssignableFrom(type);

    /// <summary>Whether a property must be present: <c>[Required]</c> or <c>required</c>.</summary>
    /// <param name="property">The property.</param>
    internal static bool IsRequired(PropertyInfo property) =>
        property.IsDefined(typeof(System.ComponentModel.DataAnnotations.RequiredAttribute)) || property.IsDefined(typeof(RequiredMemberAttribute));

    /// <summary>Whether a property may be null.</summary>
    /// <param name="property">The property.</param>
    internal static bool IsNullable(PropertyInfo property) =>
        Nullable.GetUnderlyingType(property.PropertyType) is not null
        || (!property.PropertyType.IsValueType && new NullabilityInfoContext().Create(property).WriteState == NullabilityState.Nullable);

    private static Type? Generic(Type type, params Type[] definitions) =>
        type.GetInterfaces().Prepend(type).FirstOrDefault(candidate => candidate.IsGenericType && definitions.Contains(candidate.GetGenericTypeDefinition()));
}
