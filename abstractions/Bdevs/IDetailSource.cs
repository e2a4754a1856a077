namespace Vhost.Abstractions;

/// <summary>
/// An optional interface of bdevs, sources, devices and transports: facts for people and tools beyond the contract (a controller's
/// model, its temperature, how many requests were bounced).
/// </summary>
public interface IDetailSource
{
    /// <summary>The facts as they are now, by name in snake_case; numbers carry their unit in the name. Any control thread; never blocks.</summary>
    IReadOnlyDictionary<string, string> GetDetails();
}
