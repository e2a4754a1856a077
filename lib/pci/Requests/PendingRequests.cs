using Vhost.Abstractions;

namespace Vhost.Pci;

/// <summary>Requests that wait for a command slot, in order, linked through their own <see cref="RequestProgress"/>. One thread at a time.</summary>
public unsafe struct PendingRequests
{
    private BlockRequest* _tail;

    /// <summary>The first one, or null.</summary>
    public BlockRequest* Head { get; private set; }

    /// <summary>Appends a request.</summary>
    /// <param name="request">The request; it is in no list.</param>
    public void Push(BlockRequest* request)
    {
        ref var progress = ref RequestProgress.Of(request);
        progress.IsPending = true;
        progress.Next = null;
        if (_tail == null)
        {
            Head = request;
        }
        else
        {
            RequestProgress.Of(_tail).Next = request;
        }

        _tail = request;
    }

    /// <summary>Takes the first one; there is one.</summary>
    public BlockRequest* Pop()
    {
        var request = Head;
        ref var progress = ref RequestProgress.Of(request);
        Head = progress.Next;
        if (Head == null)
        {
            _tail = null;
        }

        progress.IsPending = false;
        return request;
    }

    /// <summary>Takes a request out, wherever it is.</summary>
    /// <param name="request">The request.</param>
    public void Remove(BlockRequest* request)
    {
        if (Head == request)
        {
            Pop();
            return;
        }

        for (var at = Head; at != null; at = RequestProgress.Of(at).Next)
        {
            ref var progress = ref RequestProgress.Of(at);
            if (progress.Next == request)
            {
                progress.Next = RequestProgress.Of(request).Next;
                if (_tail == request)
                {
                    _tail = at;
                }

                RequestProgress.Of(request).IsPending = false;
                return;
            }
        }
    }
}
