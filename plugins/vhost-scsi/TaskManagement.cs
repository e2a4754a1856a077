namespace Vhost.Plugins.VhostScsi;

/// <summary>
/// One task management function under way. It goes to all request queues, because a driver may send a command on any of them; each looks on its own
/// reactor and reports when the tasks that it found are done.
/// </summary>
/// <param name="function">What to do.</param>
/// <param name="lun">For which logical unit; of an I_T nexus reset only the target counts.</param>
/// <param name="id">For which task.</param>
/// <param name="onAllReported">Called once, on any thread, when all request queues have reported.</param>
internal sealed class TaskManagement(TaskFunction function, ulong lun, ulong id, Action<TaskManagement> onAllReported)
{
    private int _queuesLeft;
    private int _foundCount;

    public TaskFunction Function => function;

    public ulong Lun => lun;

    /// <summary>When the driver gets its answer at the latest: a <see cref="System.Diagnostics.Stopwatch"/> timestamp.</summary>
    public long Deadline { get; init; }

    /// <summary>Set on the control queue's reactor: the driver has its answer.</summary>
    public bool IsAnswered { get; set; }

    public bool HasFound => Volatile.Read(ref _foundCount) != 0;

    public bool IsQuery => function is TaskFunction.QueryTask or TaskFunction.QueryTaskSet;

    public bool IsReset => function is TaskFunction.ItNexusReset or TaskFunction.LogicalUnitReset;

    /// <summary>Asks the request queues.</summary>
    public void Start(RequestQueueHandler[] queues)
    {
        _queuesLeft = queues.Length;
        if (queues.Length == 0)
        {
            onAllReported(this);
            return;
        }

        foreach (var queue in queues)
        {
            queue.Reactor.Post(
                static state =>
                {
                    var (handler, function) = ((RequestQueueHandler, TaskManagement))state!;
                    handler.Manage(function);
                },
                (queue, this));
        }
    }

    /// <summary>Whether a task is meant.</summary>
    public bool Matches(ulong taskLun, ulong taskId)
    {
        var mine = new VirtioScsiLun(lun);
        var its = new VirtioScsiLun(taskLun);
        if (!its.HasTarget || its.Target != mine.Target)
        {
            return false;
        }

        return function switch
        {
            TaskFunction.ItNexusReset => true,
            TaskFunction.AbortTask or TaskFunction.QueryTask => its.Lun == mine.Lun && taskId == id,
            _ => its.Lun == mine.Lun,
        };
    }

    /// <summary>Whether a copy that has a block request under way at a target is meant: if what is done there has to end.</summary>
    public bool EndsTasksOf(byte target)
        => new VirtioScsiLun(lun).Target == target && !IsQuery && function is not TaskFunction.AbortTask;

    /// <summary>A queue found a task. That queue's reactor.</summary>
    public void OnFound() => Interlocked.Increment(ref _foundCount);

    /// <summary>A queue has none of the tasks any more. That queue's reactor; once for each queue.</summary>
    public void OnQueueReported()
    {
        if (Interlocked.Decrement(ref _queuesLeft) == 0)
        {
            onAllReported(this);
        }
    }
}
