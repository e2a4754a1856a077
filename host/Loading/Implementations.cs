using System.Runtime.Loader;
using Vhost.Abstractions;

namespace Vhost.Host.Loading;

/// <summary>Explains why a plugin exports nothing, by the types in it that look like factories.</summary>
internal static class Implementations
{
    private static readonly Type[] Factories = [typeof(IBdevFactory), typeof(IDeviceTypeFactory), typeof(ITransportFactory)];

    /// <summary>Says which types implement a factory interface, and whose.</summary>
    /// <param name="types">All types of the plugin.</param>
    internal static string Describe(IEnumerable<Type> types)
    {
        string[] found = [.. types.Where(type => type is { IsClass: true, IsAbstract: false }).SelectMany(Of)];
        return found.Length == 0 ? "no type in it implements a factory interface either" : string.Join("; ", found);
    }

    private static IEnumerable<string> Of(Type type)
    {
        foreach (Type implemented in type.GetInterfaces())
        {
            if (Array.Find(Factories, factory => factory.FullName == implemented.FullName) is not { } ours)
            {
                continue;
            }

            yield return ours == implemented
                ? $"{type.FullName} implements {ours.Name} but has no export attribute"
                : $"{type.FullName} implements {ours.FullName} of another copy of the contract, {implemented.Assembly.Location} in load context "
                    + $"\"{AssemblyLoadContext.GetLoadContext(implemented.Assembly)?.Name}\", which the host does not know";
        }
    }
}
