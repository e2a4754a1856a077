namespace Vhost.Scsi;

/// <summary>
/// What a command waits for that is neither a block request nor the initiator's data. For the end of other initiators' tasks (PREEMPT AND ABORT): their
/// commands conflict with the reservation from now on; what is under way ends before the command does, so that nothing of theirs reaches the medium after
/// it. And for reservations to be on stable storage (APTPL).
/// </summary>
public sealed class CommandWait
{
    private readonly ItlNexus[] _nexuses;
    private readonly Task _save;
    private Action? _onDone;
    private int _left;

    internal CommandWait(ItlNexus[] nexuses, Task? save)
    {
        _nexuses = nexuses;
        _save = save ?? Task.CompletedTask;
        _left = nexuses.Length + 2;
    }

    /// <summary>Whether what had to be on stable storage is not. After the end.</summary>
    internal bool HasFailed => !_save.IsCompletedSuccessfully;

    /// <summary>Begins to wait: asks for the end of the tasks. Any thread; once.</summary>
    /// <param name="onDone">Called once, on any thread, at the end.</param>
    public void Start(Action onDone)
    {
        _onDone = onDone;
        foreach (var nexus in _nexuses)
        {
            if (nexus.Listener is { } listener)
            {
                listener.AbortTasks(nexus, OneLess);
            }
            else
            {
                OneLess();
            }
        }

        if (_save.IsCompleted)
        {
            OneLess();
        }
        else
        {
            // A fault is looked at in HasFailed.
            _save.ContinueWith(_ => OneLess(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }

        OneLess();
    }

    private void OneLess()
    {
        if (Interlocked.Decrement(ref _left) == 0)
        {
            _onDone!();
        }
    }
}
