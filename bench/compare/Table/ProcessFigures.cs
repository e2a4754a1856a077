using System.Text.Json.Nodes;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <summary>What vhostd's runtime says about itself.</summary>
/// <param name="AllocatedBytes">Bytes that the reactors' threads allocated so far.</param>
/// <param name="Collections">Garbage collections so far.</param>
/// <param name="CompiledMethods">Methods that were compiled on the reactors' threads so far: cold code that they met.</param>
internal readonly record struct ProcessFigures(long AllocatedBytes, long Collections, long CompiledMethods)
{
    /// <summary>Reads the figures out of the reply to <c>vhostd_get_status</c>.</summary>
    /// <param name="status">The reply.</param>
    /// <exception cref="FrontEndException">They are not in it.</exception>
    public static ProcessFigures Of(JsonNode status)
    {
        try
        {
            var reactors = status["reactors"]!.AsArray();
            return new ProcessFigures(
                reactors.Sum(reactor => (long)reactor!["allocated_bytes"]!),
                (long)status["process"]!["collections"]!,
                reactors.Sum(reactor => (long)reactor!["compiled_methods"]!));
        }
        catch (Exception exception) when (exception is NullReferenceException or InvalidOperationException)
        {
            throw new FrontEndException($"vhostd's status lacks the runtime's figures: {status.ToJsonString()}");
        }
    }
}
