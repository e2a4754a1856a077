using System.Buffers.Binary;
using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostScsi;

/// <summary>The control queue: task management and asynchronous notification (virtio 1.3, section 5.6.6.2). On the queue's reactor.</summary>
// SAFETY: requests are slots of the queue, used on its reactor and not after it was given up; segments are translated and checked.
internal sealed unsafe class ControlQueueHandler(SessionState session) : IVirtqueueHandler
{
    /// <summary>Drivers wait for the answer without a limit of their own.</summary>
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan TimerPeriod = TimeSpan.FromMilliseconds(100);

    private readonly List<(TaskManagement Function, nint Request)> _pending = [];
    private Virtqueue? _queue;
    private IDisposable? _timer;

    public int PrivateBytes => 0;

    public IReactor Reactor { get; private set; } = null!;

    public void Attach(Virtqueue queue)
    {
        _queue = queue;
        Reactor = queue.Reactor;
    }

    public void Handle(ReadOnlySpan<VirtioRequestPointer> requests)
    {
        foreach (var request in requests)
        {
            Begin(request.Pointer);
        }
    }

    public bool TryFail(VirtioRequest* request, out uint writtenBytes)
    {
        if (!Segments.IsUsable(request->Writable, request->WritableCount, 1))
        {
            writtenBytes = 0;
            return false;
        }

        *request->Writable->Address = (byte)Response.FunctionRejected;
        writtenBytes = 1;
        return true;
    }

    /// <summary>Functions that still wait for tasks are answered now: the driver resets the device.</summary>
    public void OnStopping()
    {
        foreach (var (function, _) in _pending.ToArray())
        {
            Answer(function, Response.FunctionRejected);
        }
    }

    public void Detach()
    {
        foreach (var (function, _) in _pending)
        {
            function.IsAnswered = true;
        }

        _pending.Clear();
        StopTimer();
        _queue = null;
    }

    /// <summary>All request queues have reported.</summary>
    private void OnAllReported(TaskManagement function)
    {
        if (function.IsAnswered || _queue is null)
        {
            return;
        }

        var lun = new VirtioScsiLun(function.Lun);
        var target = session.Device.Targets[lun.Target];
        switch (function.Function)
        {
            case TaskFunction.LogicalUnitReset:
                target?.Find(lun.Lun)?.Unit.Reset();
                break;
            case TaskFunction.ItNexusReset:
                target?.OnNexusReset();
                break;
        }

        Answer(function, function.IsQuery && function.HasFound ? Response.FunctionSucceeded : Response.Ok);
    }

    private void Begin(VirtioRequest* request)
    {
        Span<byte> header = stackalloc byte[VirtioScsi.TaskManagementBytes];
        header.Clear();
        var length = (int)Math.Min(request->ReadableBytes, VirtioScsi.TaskManagementBytes);
        Segments.Gather(request->Readable, request->ReadableCount, header[..length]);
        if (length < sizeof(uint) || request->WritableBytes == 0)
        {
            Complete(request, Response.FunctionRejected);
            return;
        }

        switch (BinaryPrimitives.ReadUInt32LittleEndian(header))
        {
            case VirtioScsi.ControlTaskManagement when length == VirtioScsi.TaskManagementBytes:
                BeginTaskManagement(request, header);
                break;
            case VirtioScsi.ControlQueryNotifications or VirtioScsi.ControlSubscribeNotifications when length >= VirtioScsi.NotificationBytes:
                AnswerNotification(request, BinaryPrimitives.ReadUInt64LittleEndian(header[4..]));
                break;
            default:
                Complete(request, Response.FunctionRejected);
                break;
        }
    }

    private void BeginTaskManagement(VirtioRequest* request, ReadOnlySpan<byte> header)
    {
        var function = (TaskFunction)BinaryPrimitives.ReadUInt32LittleEndian(header[4..]);
        var rawLun = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
        var id = BinaryPrimitives.ReadUInt64LittleEndian(header[16..]);
        var lun = new VirtioScsiLun(rawLun);
        var target = lun.HasTarget ? session.Device.Targets[lun.Target] : null;
        if (target is null)
        {
            Complete(request, Response.BadTarget);
        }
        else if (function is TaskFunction.ClearAca or > TaskFunction.QueryTaskSet)
        {
            // NORMACA is 0: there is never an ACA condition to clear (SAM-5, section 7.3).
            Complete(request, Response.FunctionRejected);
        }
        else if (function != TaskFunction.ItNexusReset && target.Find(lun.Lun) is null)
        {
            Complete(request, Response.IncorrectLun);
        }
        else
        {
            var deadline = Reactor.Timestamp + (long)(AnswerLimit.TotalSeconds * Stopwatch.Frequency);
            var management = new TaskManagement(function, rawLun, id, PostAllReported) { Deadline = deadline };
            _pending.Add((management, (nint)request));
            _timer ??= Reactor.AddTimer(TimerPeriod, static state => ((ControlQueueHandler)state!).OnTimer(), this);
            management.Start(session.GetRequestQueues());
        }
    }

    private void PostAllReported(TaskManagement function)
        => Reactor.Post(
            static state =>
            {
                var (handler, reported) = ((ControlQueueHandler, TaskManagement))state!;
                handler.OnAllReported(reported);
            },
            (this, function));

    private void OnTimer()
    {
        // Tasks that do not end in time, because their bdev does not give them back, are still there: the function has failed.
        foreach (var (function, _) in _pending.ToArray())
        {
            if (Reactor.Timestamp >= function.Deadline)
            {
                Answer(function, Response.FunctionRejected);
            }
        }
    }

    private void Answer(TaskManagement function, Response response)
    {
        function.IsAnswered = true;
        var index = _pending.FindIndex(pending => pending.Function == function);
        var request = (VirtioRequest*)_pending[index].Request;
        _pending.RemoveAt(index);
        if (_pending.Count == 0)
        {
            StopTimer();
        }

        Complete(request, response);
        _queue!.Flush();
    }

    /// <summary>No asynchronous event can be subscribed to: none is reported for a unit that there is.</summary>
    private void AnswerNotification(VirtioRequest* request, ulong rawLun)
    {
        var lun = new VirtioScsiLun(rawLun);
        var target = lun.HasTarget ? session.Device.Targets[lun.Target] : null;
        var response = target is null ? Response.BadTarget : target.Find(lun.Lun) is null ? Response.IncorrectLun : Response.Ok;
        Span<byte> answer = [0, 0, 0, 0, (byte)response];
        var length = (int)Math.Min(request->WritableBytes, (ulong)answer.Length);
        Segments.Scatter(answer[..length], request->Writable, request->WritableCount);
        _queue!.Complete(request, (uint)length);
    }

    private void Complete(VirtioRequest* request, Response response)
    {
        var queue = _queue!;
        if (queue.IsGivenUp || request->WritableBytes == 0)
        {
            queue.Complete(request, 0);
            return;
        }

        *request->Writable->Address = (byte)response;
        queue.Complete(request, 1);
    }

    private void StopTimer()
    {
        _timer?.Dispose();
        _timer = null;
    }
}
