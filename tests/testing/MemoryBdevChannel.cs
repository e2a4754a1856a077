using Vhost.Abstractions;

namespace Vhost.Testing;

/// <summary>A channel of a <see cref="MemoryBdevPort"/>.</summary>
internal sealed unsafe class MemoryBdevChannel(MemoryBdevPort port, IBdevCompletions completions) : IBdevChannel
{
    private bool _isDisposed;

    public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        port.OnBatch();
        if (port.IsDeferring)
        {
            foreach (var request in requests)
            {
                port.Defer(this, request.Pointer);
            }

            return;
        }

        foreach (var request in requests)
        {
            port.Execute(request.Pointer);
        }

        completions.OnCompleted(requests);
    }

    public void Abort(BlockRequestPointer request) => port.TryAbort(this, request.Pointer);

    public void Complete(BlockRequest* request, BlockStatus? status)
    {
        if (status is { } given)
        {
            request->Status = given;
        }
        else
        {
            port.Execute(request);
        }

        var pointer = new BlockRequestPointer(request);
        completions.OnCompleted(new ReadOnlySpan<BlockRequestPointer>(in pointer));
    }

    public void Dispose()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            port.OnChannelClosed();
        }
    }
}
