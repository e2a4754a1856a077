using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Abstractions;
using Vhost.Scsi;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostScsi;

/// <summary>
/// A request queue: turns virtio requests into SCSI tasks, and submits their block requests once a batch for each target. On the queue's reactor
/// only. Without allocation and locks, but for the first command to a target, which opens its channel.
/// </summary>
// SAFETY (all parts): requests and their private areas are slots of the queue, used on its reactor; buffers are translated and checked by the queue and
// stay mapped until the request is completed. After the queue was given up no buffer is touched.
internal sealed unsafe partial class RequestQueueHandler(SessionState session) : IVirtqueueHandler
{
    private const int TargetCount = 256;

    private readonly DeviceServer _server = new(session.Device);
    private readonly TargetChannel?[] _channels = new TargetChannel?[TargetCount];
    private readonly TargetChannel[] _dirty = new TargetChannel[Virtqueue.BatchSize];
    private readonly int _cdbBytes = session.Device.Config.CdbBytes;
    private readonly int _responseBytes = VirtioScsi.ResponseHeaderBytes + session.Device.Config.SenseBytes;
    private int _dirtyCount;
    private Virtqueue? _queue;
    private bool _isDetached;
    private bool _isStopping;

    public int PrivateBytes => sizeof(RequestSlot);

    /// <summary>The queue's reactor; valid once the handler is attached.</summary>
    public IReactor Reactor { get; private set; } = null!;

    private int RequestBytes => VirtioScsi.RequestHeaderBytes + _cdbBytes;

    public void Attach(Virtqueue queue)
    {
        _queue = queue;
        Reactor = queue.Reactor;
        session.Add(this);
    }

    public void Handle(ReadOnlySpan<VirtioRequestPointer> requests)
    {
        _server.Now = Reactor.Timestamp;
        foreach (var request in requests)
        {
            Begin(request.Pointer);
        }

        for (var i = 0; i < _dirtyCount; i++)
        {
            _dirty[i].SubmitBatch();
        }

        _dirtyCount = 0;
    }

    public bool TryFail(VirtioRequest* request, out uint writtenBytes)
    {
        // Only the header's place must be usable; the data's is what is wrong, most likely.
        if (!Segments.IsUsable(request->Writable, request->WritableCount, VirtioScsi.ResponseHeaderBytes))
        {
            writtenBytes = 0;
            return false;
        }

        writtenBytes = Respond(request, Response.Failure);
        return true;
    }

    public void OnStopping()
    {
        _isStopping = true;
        EndAllWaiting();
        foreach (var channel in _channels)
        {
            channel?.ReleaseHeld();
        }
    }

    public void Detach()
    {
        _isDetached = true;
        session.Remove(this);
        ReportAllWaits();
        foreach (var channel in _channels)
        {
            channel?.Dispose();
        }

        _server.Dispose();
    }

    /// <summary>Closes the channel to a target that was removed, on the queue's reactor. Nothing of it is under way. Any thread.</summary>
    public Task CloseChannelAsync(byte target)
    {
        var closed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Reactor.Post(
            static state =>
            {
                var (handler, number, done) = ((RequestQueueHandler, byte, TaskCompletionSource))state!;
                // A queue that was detached meanwhile has closed all its channels.
                if (!handler._isDetached && handler._channels[number] is { } channel)
                {
                    channel.Dispose();
                    handler._server.Forget(channel.Nexus);
                    handler._channels[number] = null;
                }

                done.SetResult();
            },
            (this, target, closed));
        return closed.Task;
    }

    /// <summary>The block requests of a target came back.</summary>
    public void OnCompleted(TargetChannel channel, ReadOnlySpan<BlockRequestPointer> requests)
    {
        var queue = _queue!;
        var isGivenUp = queue.IsGivenUp;
        _server.Now = Stopwatch.GetTimestamp();
        var areLarge = Virtqueue.AreLarge(requests);
        foreach (var completed in requests)
        {
            var slot = (RequestSlot*)completed.Pointer;
            var request = VirtioRequest.FromPrivate(slot);
            if (isGivenUp)
            {
                _server.Abandon(&slot->Task);
                queue.Complete(request, 0);
            }
            else if (!request->IsUnderWay)
            {
                // Completed twice. The queue counts it.
                queue.Complete(request, 0);
            }
            else
            {
                var action = _server.Continue(channel.Nexus, &slot->Task);
                if (action == ScsiAction.Submit)
                {
                    channel.Add(completed.Pointer);
                }
                else if (action == ScsiAction.SubmitElsewhere)
                {
                    SubmitElsewhere(request, slot, channel.Nexus)?.SubmitBatch();
                }
                else
                {
                    Finish(request, slot);
                }
            }
        }

        channel.SubmitBatch();
        queue.Flush(areLarge);
    }

    [SkipLocalsInit]
    private void Begin(VirtioRequest* request)
    {
        var slot = (RequestSlot*)VirtioRequest.PrivateOf(request);
        slot->IsAwaited = false;
        slot->AbortResponse = Response.Aborted;
        if (request->ReadableBytes < (ulong)RequestBytes || request->WritableBytes < (ulong)_responseBytes)
        {
            // Too short for a request or for its response: the driver is told as far as there is room.
            slot->Lun = 0;
            _queue!.Complete(request, Respond(request, Response.Failure));
            return;
        }

        ReadHeader(request, slot);
        CutHeaders(request, slot);
        var lun = new VirtioScsiLun(slot->Lun);
        var target = lun.HasTarget ? session.Device.Targets[lun.Target] : null;
        var number = lun.Lun;
        if (target?.Find(number) is { Unit.IsPresent: true } nexus)
        {
            var channel = _channels[lun.Target];
            if (channel is null || channel.Nexus != nexus)
            {
                channel = OpenChannel(lun.Target, nexus);
            }

            var action = request->IsResubmitted ? _server.BeginAgain(nexus, &slot->Task) : _server.Begin(nexus, &slot->Task);
            if (action == ScsiAction.Submit)
            {
                if (channel.Add(&slot->Task.Block))
                {
                    _dirty[_dirtyCount++] = channel;
                }

                return;
            }

            if (action == ScsiAction.SubmitElsewhere)
            {
                if (SubmitElsewhere(request, slot, nexus) is { } other)
                {
                    _dirty[_dirtyCount++] = other;
                }

                return;
            }

            if (action == ScsiAction.Wait)
            {
                BeginWait(request);
                return;
            }
        }
        else if (!BeginWithoutUnit(target, number, slot))
        {
            FinishWith(request, slot, Response.BadTarget);
            return;
        }

        Finish(request, slot);
    }

    /// <summary>Adds the block request of a copy to the batch of the unit that it is for; if the guest does not see that any more, the task is done.</summary>
    /// <returns>The channel whose batch is to be submitted, or null.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private TargetChannel? SubmitElsewhere(VirtioRequest* request, RequestSlot* slot, ItlNexus nexus)
    {
        var unit = _server.UnitOf(&slot->Task);
        var number = session.Device.FindTarget(unit);
        if (number < 0)
        {
            slot->Task.Block.Status = BlockStatus.NoDevice;
            _server.Continue(nexus, &slot->Task);
            Finish(request, slot);
            return null;
        }

        var channel = _channels[number];
        if (channel is null || channel.Nexus != unit)
        {
            channel = OpenChannel((byte)number, unit);
        }

        slot->Elsewhere = (byte)number;
        return channel.Add(&slot->Task.Block) ? channel : null;
    }

    private bool BeginWithoutUnit(ScsiTarget? target, int lun, RequestSlot* slot)
    {
        if (target is null || !target.HasPresentUnit)
        {
            return false;
        }

        if (lun == VirtioScsiLun.ReportLuns)
        {
            _server.BeginReportLunsUnit(target, &slot->Task);
        }
        else
        {
            _server.BeginUnattached(target, &slot->Task);
        }

        return true;
    }

    // Each field is read once; what is looked at afterwards is the copy.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void ReadHeader(VirtioRequest* request, RequestSlot* slot)
    {
        var first = request->Readable;
        if (_cdbBytes == CdbBytes.LengthBytes && first->LengthBytes >= VirtioScsi.RequestHeaderBytes + CdbBytes.LengthBytes)
        {
            var header = first->Address;
            slot->Lun = Unsafe.ReadUnaligned<ulong>(header);
            slot->Id = Unsafe.ReadUnaligned<ulong>(header + 8);
            slot->Task.Cdb = Unsafe.ReadUnaligned<CdbBytes>(header + VirtioScsi.RequestHeaderBytes);
            slot->Task.CdbLengthBytes = CdbBytes.LengthBytes;
        }
        else
        {
            ReadUnusualHeader(request, slot);
        }
    }

    /// <summary>Reads a header that comes in pieces, or with CDBs of another length than the usual one.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void ReadUnusualHeader(VirtioRequest* request, RequestSlot* slot)
    {
        Span<byte> header = stackalloc byte[VirtioScsi.RequestHeaderBytes + CdbBytes.LengthBytes];
        header.Clear();
        var cdbLength = Math.Min(_cdbBytes, CdbBytes.LengthBytes);
        Segments.Gather(request->Readable, request->ReadableCount, header[..(VirtioScsi.RequestHeaderBytes + cdbLength)]);
        slot->Lun = MemoryMarshal.Read<ulong>(header);
        slot->Id = MemoryMarshal.Read<ulong>(header[8..]);
        slot->Task.Cdb = MemoryMarshal.Read<CdbBytes>(header[VirtioScsi.RequestHeaderBytes..]);
        slot->Task.CdbLengthBytes = cdbLength;
    }

    private void CutHeaders(VirtioRequest* request, RequestSlot* slot)
    {
        ref var task = ref slot->Task;
        var dataOut = Segments.Cut(request->Readable, request->ReadableCount, (nuint)RequestBytes, out _);
        task.DataOut = request->Readable + dataOut;
        task.DataOutCount = request->ReadableCount - dataOut;
        task.DataOutLengthBytes = request->ReadableBytes - (ulong)RequestBytes;

        slot->ResponseHeader = request->Writable->LengthBytes >= (nuint)_responseBytes ? request->Writable->Address : null;
        slot->DataInIndex = Segments.Cut(request->Writable, request->WritableCount, (nuint)_responseBytes, out slot->DataInCut);
        task.DataIn = request->Writable + slot->DataInIndex;
        task.DataInCount = request->WritableCount - slot->DataInIndex;
        task.DataInLengthBytes = request->WritableBytes - (ulong)_responseBytes;
        slot->DataBytes = task.DataInLengthBytes + task.DataOutLengthBytes;
    }

    private void Finish(VirtioRequest* request, RequestSlot* slot)
    {
        var response = slot->Task.Response switch
        {
            ServiceResponse.Complete => Response.Ok,
            ServiceResponse.Overrun => Response.Overrun,
            _ => slot->AbortResponse,
        };
        FinishWith(request, slot, response);
    }

    private void FinishWith(VirtioRequest* request, RequestSlot* slot, Response response)
    {
        ref var task = ref slot->Task;
        var transferred = response == Response.Ok ? task.TransferredBytes : 0;
        var senseLength = response == Response.Ok ? Math.Min(task.SenseLengthBytes, (uint)(_responseBytes - VirtioScsi.ResponseHeaderBytes)) : 0;
        var header = new ResponseHeader(senseLength, slot->DataBytes - transferred, response == Response.Ok ? task.Status : ScsiStatus.Good, response);
        if (slot->DataInCut != 0)
        {
            // The dirty log looks at the buffers as they were.
            Segments.Uncut(request->Writable + slot->DataInIndex, slot->DataInCut);
        }

        if (slot->ResponseHeader != null)
        {
            header.Write(slot->ResponseHeader);
            if (senseLength != 0)
            {
                var sense = new Span<byte>(slot->ResponseHeader + VirtioScsi.ResponseHeaderBytes, (int)senseLength);
                ScsiTask.SenseOf(&slot->Task)[..sense.Length].CopyTo(sense);
            }
        }
        else
        {
            ScatterResponse(request, slot, header, (int)senseLength);
        }

        var isAwaited = slot->IsAwaited;
        _queue!.Complete(request, (uint)Math.Min((ulong)_responseBytes + Math.Min(transferred, task.DataInLengthBytes), uint.MaxValue));
        if (isAwaited)
        {
            OnAwaitedDone(request->Slot);
        }
    }

    private static void ScatterResponse(VirtioRequest* request, RequestSlot* slot, ResponseHeader header, int senseLength)
    {
        var bytes = stackalloc byte[VirtioScsi.ResponseHeaderBytes + SenseBytes.LengthBytes];
        header.Write(bytes);
        ScsiTask.SenseOf(&slot->Task)[..senseLength].CopyTo(new Span<byte>(bytes + VirtioScsi.ResponseHeaderBytes, senseLength));
        Segments.Scatter(new ReadOnlySpan<byte>(bytes, VirtioScsi.ResponseHeaderBytes + senseLength), request->Writable, request->WritableCount);
    }

    /// <summary>Answers a request without a task.</summary>
    /// <returns>How much was written.</returns>
    private static uint Respond(VirtioRequest* request, Response response)
    {
        var bytes = stackalloc byte[VirtioScsi.ResponseHeaderBytes];
        new ResponseHeader(0, 0, ScsiStatus.Good, response).Write(bytes);
        var room = (int)Math.Min(request->WritableBytes, (ulong)VirtioScsi.ResponseHeaderBytes);
        Segments.Scatter(new ReadOnlySpan<byte>(bytes, room), request->Writable, request->WritableCount);
        return (uint)room;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private TargetChannel OpenChannel(byte target, ItlNexus nexus)
    {
        var channel = new TargetChannel(this, nexus);
        channel.Open(_queue!);
        _channels[target] = channel;
        if (_isStopping)
        {
            // For what a command that is under way still has to do.
            channel.ReleaseHeld();
        }

        return channel;
    }
}
