using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <summary>What a held request needs so that it may go.</summary>
internal enum ThrottleAdmission
{
    /// <summary>The limit has to have room for it.</summary>
    Paid,

    /// <summary>It goes, and what comes later pays for it.</summary>
    OnCredit,

    /// <summary>It goes, and nobody pays: the bdev is gone.</summary>
    Free,
}

/// <summary>A channel's requests that a limit holds back: reads and writes by themselves, each in their order. Reactor thread only.</summary>
internal sealed unsafe class ThrottleQueues
{
    private readonly HeldRequests _reads = new();
    private readonly HeldRequests _writes = new();
    private bool _isWriteNext;

    /// <summary>The channel's share of the limit, or null when the limit was lifted and what it held is on its way.</summary>
    internal QosShare? Share { get; set; }

    internal int Count => _reads.Count + _writes.Count;

    /// <summary>Whether limits count an operation.</summary>
    internal static bool IsLimited(BlockOperation operation) =>
        operation is BlockOperation.Read or BlockOperation.Write or BlockOperation.Compare or BlockOperation.CompareAndWrite;

    /// <summary>Whether an operation counts as a write.</summary>
    internal static bool IsWrite(BlockOperation operation) => operation is BlockOperation.Write or BlockOperation.CompareAndWrite;

    internal bool HasHeld(bool isWrite) => (isWrite ? _writes : _reads).Count > 0;

    internal void Hold(BlockRequestPointer request, bool isWrite) => (isWrite ? _writes : _reads).Add(request);

    /// <summary>Takes the next request that may go: reads and writes in turns, so that a common limit starves neither.</summary>
    /// <param name="blockShift">log2 of the bdev's block size.</param>
    /// <param name="admission">What it needs so that it may go.</param>
    /// <param name="request">The request.</param>
    internal bool TryTake(int blockShift, ThrottleAdmission admission, out BlockRequestPointer request)
    {
        for (var attempt = 0; attempt < 2; attempt++)
        {
            var isWrite = _isWriteNext;
            _isWriteNext = !_isWriteNext;
            var queue = isWrite ? _writes : _reads;
            if (queue.Count > 0 && (Share is null || admission == ThrottleAdmission.Free || MayGo(queue.Peek().Pointer, isWrite)))
            {
                request = queue.Take();
                return true;
            }
        }

        request = default;
        return false;

        bool MayGo(BlockRequest* request, bool isWrite)
        {
            var bytes = request->BlockCount << blockShift;
            if (admission == ThrottleAdmission.OnCredit)
            {
                Share.Borrow(isWrite, bytes);
                return true;
            }

            return Share.TryAdmit(isWrite, bytes);
        }
    }

    internal bool Remove(BlockRequestPointer request) => _reads.Remove(request) || _writes.Remove(request);

    private sealed class HeldRequests
    {
        private BlockRequestPointer[] _ring = new BlockRequestPointer[64];
        private int _first;

        internal int Count { get; private set; }

        internal BlockRequestPointer Peek() => _ring[_first];

        internal void Add(BlockRequestPointer request)
        {
            if (Count == _ring.Length)
            {
                var larger = new BlockRequestPointer[Count * 2];
                for (var i = 0; i < Count; i++)
                {
                    larger[i] = _ring[(_first + i) & (Count - 1)];
                }

                _ring = larger;
                _first = 0;
            }

            _ring[(_first + Count++) & (_ring.Length - 1)] = request;
        }

        internal BlockRequestPointer Take()
        {
            var request = _ring[_first];
            _first = (_first + 1) & (_ring.Length - 1);
            Count--;
            return request;
        }

        internal bool Remove(BlockRequestPointer request)
        {
            var mask = _ring.Length - 1;
            for (var i = 0; i < Count; i++)
            {
                if (_ring[(_first + i) & mask].Pointer == request.Pointer)
                {
                    for (; i < Count - 1; i++)
                    {
                        _ring[(_first + i) & mask] = _ring[(_first + i + 1) & mask];
                    }

                    Count--;
                    return true;
                }
            }

            return false;
        }
    }
}
