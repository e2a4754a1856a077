using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>Is told when the logical unit of a nexus comes, goes or changes, so that the transport can tell the initiator.</summary>
public interface ILogicalUnitListener
{
    /// <summary>Something happened. Control threads only; unit attentions are established already.</summary>
    /// <param name="nexus">Through which nexus the listener sees the unit.</param>
    /// <param name="change">What happened.</param>
    void OnLogicalUnitChanged(ItlNexus nexus, BdevChange change);

    /// <summary>Another initiator aborts all tasks of this nexus (PREEMPT AND ABORT). Any thread; must not block.</summary>
    /// <param name="nexus">Whose tasks.</param>
    /// <param name="onDone">To be called once, on any thread, when none of those is under way that were when this was called.</param>
    void AbortTasks(ItlNexus nexus, Action onDone)
    {
        ArgumentNullException.ThrowIfNull(onDone);
        onDone();
    }
}
