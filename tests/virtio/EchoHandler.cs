namespace Vhost.Virtio.Tests;

/// <summary>
/// A device that copies what it reads, inverted, into what it may write. It records each request's shape, and can keep requests until the
/// test says so.
/// </summary>
internal sealed unsafe class EchoHandler : IVirtqueueHandler
{
    private readonly List<nint> _kept = [];

    public Virtqueue? Queue { get; private set; }

    public bool KeepsRequests { get; set; }

    public bool AnswersInvalid { get; set; } = true;

    /// <summary>Shows the driver each answer before the rest of the batch is done.</summary>
    public bool FlushesEarly { get; set; }

    /// <summary>Called after each answer that was not kept.</summary>
    public Action? OnFinished { get; set; }

    public bool Records { get; set; } = true;

    public int BatchCount { get; private set; }

    public int HandledCount { get; private set; }

    public List<ChainFault> Faults { get; } = [];

    public List<(int Readable, int Writable, ulong ReadableBytes, ulong WritableBytes)> Shapes { get; } = [];

    public int AttachCount { get; private set; }

    /// <summary>Called as the queue starts.</summary>
    public Action? OnAttach { get; set; }

    public int DetachCount { get; private set; }

    public int StoppingCount { get; private set; }

    public int KeptCount => _kept.Count;

    public int PrivateBytes => 24;

    public void Attach(Virtqueue queue)
    {
        Queue = queue;
        AttachCount++;
        OnAttach?.Invoke();
    }

    public void Handle(ReadOnlySpan<VirtioRequestPointer> requests)
    {
        BatchCount++;
        HandledCount += requests.Length;
        foreach (var request in requests)
        {
            if (Records)
            {
                Shapes.Add((request.Pointer->ReadableCount, request.Pointer->WritableCount, request.Pointer->ReadableBytes, request.Pointer->WritableBytes));
            }

            if (KeepsRequests)
            {
                _kept.Add((nint)request.Pointer);
            }
            else
            {
                Finish(request.Pointer);
                if (FlushesEarly)
                {
                    Queue!.Flush(wereLarge: true);
                }

                OnFinished?.Invoke();
            }
        }
    }

    public bool TryFail(VirtioRequest* request, out uint writtenBytes)
    {
        Faults.Add(request->Fault);
        writtenBytes = 0;
        if (!AnswersInvalid || request->WritableCount == 0 || request->Writable[request->WritableCount - 1].Address == null)
        {
            return false;
        }

        *request->Writable[request->WritableCount - 1].Address = 0xee;
        writtenBytes = 1;
        return true;
    }

    public void OnStopping() => StoppingCount++;

    public void Detach() => DetachCount++;

    /// <summary>Completes kept requests, by their order of arrival, and flushes.</summary>
    public void Release(params int[] indexes)
    {
        foreach (var index in indexes)
        {
            Finish((VirtioRequest*)_kept[index]);
        }

        foreach (var index in indexes.OrderDescending())
        {
            _kept.RemoveAt(index);
        }

        Queue!.Flush();
    }

    public VirtioRequest* Kept(int index) => (VirtioRequest*)_kept[index];

    private static void Finish(VirtioRequest* request)
    {
        uint written = 0;
        var source = 0;
        nuint sourceOffset = 0;
        for (var i = 0; i < request->WritableCount; i++)
        {
            var target = request->Writable[i];
            for (nuint offset = 0; offset < target.LengthBytes; offset++)
            {
                while (source < request->ReadableCount && sourceOffset == request->Readable[source].LengthBytes)
                {
                    source++;
                    sourceOffset = 0;
                }

                if (source == request->ReadableCount)
                {
                    break;
                }

                if (!Virtqueue.Of(request).IsGivenUp)
                {
                    target.Address[offset] = (byte)~request->Readable[source].Address[sourceOffset];
                }

                sourceOffset++;
                written++;
            }
        }

        Virtqueue.Of(request).Complete(request, written);
    }
}
