using Vhost.Abstractions;

namespace Vhost.Plugins.Null;

/// <summary>Completes what it is given.</summary>
/// <param name="completions">Takes the completions.</param>
internal sealed class NullChannel(IBdevCompletions completions) : IBdevChannel
{
    /// <inheritdoc/>
    public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
    {
        foreach (var request in requests)
        {
            request.Value.Status = BlockStatus.Success;
            request.Value.Information = 0;
        }

        completions.OnCompleted(requests);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
