using System.Text.Json.Nodes;

namespace Vhost.Host.Rpc;

/// <summary>The JSON type of a parameter.</summary>
internal enum RpcType
{
    /// <summary>A string.</summary>
    String,

    /// <summary>A whole number from -2^31 to 2^31 - 1.</summary>
    Int32,

    /// <summary>A whole number from 0 to 2^32 - 1.</summary>
    UInt32,

    /// <summary>A whole number from 0 to 2^64 - 1.</summary>
    UInt64,

    /// <summary>true or false.</summary>
    Boolean,

    /// <summary>An array of strings.</summary>
    StringList,

    /// <summary>An array of whole numbers from 0 to 2^64 - 1.</summary>
    UInt64List,

    /// <summary>An object.</summary>
    Object,

    /// <summary>Any value: a plugin's option, which the plugin's own class describes.</summary>
    Any,
}

/// <summary>A parameter of a method.</summary>
/// <param name="Name">Its key in <c>params</c>.</param>
/// <param name="Type">Its type.</param>
/// <param name="IsRequired">Whether a call without it is refused.</param>
/// <param name="Description">What it means.</param>
internal sealed record RpcParameter(string Name, RpcType Type, bool IsRequired, string Description)
{
    /// <summary>Whether SPDK's clients send it and vhostd has nothing of the kind: only what asks for nothing is accepted.</summary>
    public bool IsUnused { get; init; }
}

/// <summary>A group of methods, as the page and the help show it.</summary>
internal enum RpcGroup
{
    /// <summary>The process.</summary>
    Process,

    /// <summary>Controllers.</summary>
    Controllers,

    /// <summary>Bdevs.</summary>
    Bdevs,

    /// <summary>What SPDK calls its framework: reactors, subsystems, the log.</summary>
    Framework,
}

/// <summary>One method of the surface: its description serves the decoder, the documentation and the command line.</summary>
/// <param name="Group">Where it belongs.</param>
/// <param name="Name">Its name.</param>
/// <param name="OlderNames">Names of earlier generations with the same parameters and result.</param>
/// <param name="Parameters">Its parameters.</param>
/// <param name="Result">The result, in words.</param>
/// <param name="Description">What it does.</param>
/// <param name="Invoke">Does it.</param>
internal sealed record RpcMethod(
    RpcGroup Group,
    string Name,
    IReadOnlyList<string> OlderNames,
    IReadOnlyList<RpcParameter> Parameters,
    string Result,
    string Description,
    Func<RpcArguments, Task<JsonNode?>> Invoke);
