namespace Vhost.Scsi;

/// <summary>
/// The end of other initiators' tasks, for which a command waits (PREEMPT AND ABORT). Their commands conflict with the reservation from now on; what is
/// under way ends before the command does, so that nothing of theirs reaches the medium after it.
/// </summary>
public sealed class TaskAbortion
{
    private readonly ItlNexus[] _nexuses;
    private Action? _onDone;
    private int _left;

    internal TaskAbortion(ItlNexus[] nexuses)
    {
        _nexuses = nexuses;
        _left = nexuses.Length + 1;
    }

    /// <summary>Asks for the end of the tasks. Any thread; once.</summary>
    /// <param name="onDone">Called once, on any thread, when they have ended.</param>
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
