using Microsoft.Extensions.Logging;

namespace Vhost.Abstractions;

/// <summary>What the host gives a device.</summary>
public sealed class DeviceContext
{
    /// <summary>The controller's name: its key in the manifest's <c>controllers</c>.</summary>
    public required string Name { get; init; }

    /// <summary>The reactors that the controller's queues may be spread over, at least one.</summary>
    public required IReadOnlyList<IReactor> Reactors { get; init; }

    /// <summary>Gives the bdevs that <see cref="IDeviceTypeFactory.GetBdevReferences"/> names, there already or not.</summary>
    public required Func<string, IBdevPort> GetBdev { get; init; }

    /// <summary>Logs under the controller's name. Never on the data path, or rate-limited.</summary>
    public required ILogger Logger { get; init; }
}
