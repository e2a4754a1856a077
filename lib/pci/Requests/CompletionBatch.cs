using System.Runtime.CompilerServices;
using Vhost.Abstractions;

namespace Vhost.Pci;

/// <summary>
/// Gathers completed requests and hands them to their submitters in batches. One thread at a time. What a submitter sends from within a delivery
/// waits until the delivery is over, so the depth of the stack is bounded.
/// </summary>
public sealed class CompletionBatch
{
    private const int Capacity = 64;
    private readonly BlockRequestPointer[] _requests = new BlockRequestPointer[Capacity];
    private IBdevCompletions? _receiver;
    private int _count;

    /// <summary>Whether a delivery is under way.</summary>
    public bool IsDelivering { get; private set; }

    /// <summary>Whether something waits to be delivered.</summary>
    public bool IsEmpty => _count == 0;

    /// <summary>Adds a request, with its status set; delivers first where the batch is full or another receiver's.</summary>
    /// <param name="receiver">Whose request it is.</param>
    /// <param name="request">The request.</param>
    public unsafe void Add(IBdevCompletions receiver, BlockRequest* request)
    {
        if (_count == Capacity || (_count != 0 && !ReferenceEquals(_receiver, receiver)))
        {
            Deliver();
        }

        _receiver = receiver;
        _requests[_count++] = new BlockRequestPointer(request);
    }

    /// <summary>Hands over what there is, and what is added meanwhile.</summary>
    [SkipLocalsInit]
    public void Deliver()
    {
        if (_count == 0)
        {
            return;
        }

        // A copy: the receiver may cause further completions, which are gathered meanwhile.
        Span<BlockRequestPointer> batch = stackalloc BlockRequestPointer[Capacity];
        while (_count != 0)
        {
            var count = _count;
            var receiver = _receiver!;
            _requests.AsSpan(0, count).CopyTo(batch);
            _count = 0;
            var outer = IsDelivering;
            IsDelivering = true;
            receiver.OnCompleted(batch[..count]);
            IsDelivering = outer;
        }
    }
}
