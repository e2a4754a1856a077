using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>Is told when the logical unit of a nexus comes, goes or changes, so that the transport can tell the initiator.</summary>
public interface ILogicalUnitListener
{
    /// <summary>Something happened. Control threads only; unit attentions are established already.</summary>
    /// <param name="nexus">Through which nexus the listener sees the unit.</param>
    /// <param name="change">What happened.</param>
    void OnLogicalUnitChanged(ItlNexus nexus, BdevChange change);
}
