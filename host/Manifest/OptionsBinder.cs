using System.Collections;
using System.Reflection;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;

namespace Vhost.Host.Manifest;

/// <summary>Binds checked sections to options, through Microsoft.Extensions.Configuration.</summary>
internal static class OptionsBinder
{
    private static readonly Action<BinderOptions> Strict = options => options.ErrorOnUnknownConfiguration = true;

    /// <summary>Binds a section onto options that hold their defaults.</summary>
    /// <param name="section">The section, which was checked against the options class.</param>
    /// <param name="options">Takes the values.</param>
    /// <param name="reservedKeys">Keys that are not the options'.</param>
    /// <exception cref="InvalidOperationException">The section does not fit the options.</exception>
    internal static void Bind(JsonObject section, object options, IReadOnlyCollection<string> reservedKeys)
    {
        JsonObject own = section.DeepClone().AsObject();
        foreach (string key in reservedKeys)
        {
            own.Remove(key);
        }

        ClearCollections(own, options);
        using var stream = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(own.ToJsonString()));
        new ConfigurationBuilder().AddJsonStream(stream).Build().Bind(options, Strict);
    }

    /// <summary>A list or dictionary of the manifest replaces the default one; the binder alone would append to it.</summary>
    private static void ClearCollections(JsonObject section, object options)
    {
        foreach ((string key, PropertyInfo property) in OptionsShape.PropertiesOf(options.GetType()))
        {
            if (!section.TryGetPropertyValue(key, out JsonNode? value))
            {
                continue;
            }

            object? current = property.GetValue(options);
            switch (current)
            {
                case Array array:
                    property.SetValue(options, Array.CreateInstance(array.GetType().GetElementType()!, 0));
                    break;
                case IList { IsReadOnly: false, IsFixedSize: false } list:
                    list.Clear();
                    break;
                case IDictionary { IsReadOnly: false, IsFixedSize: false } dictionary:
                    dictionary.Clear();
                    break;
                case not null when value is JsonObject inner && OptionsShape.IsObject(property.PropertyType):
                    ClearCollections(inner, current);
                    break;
            }
        }
    }
}
