namespace Vhost.Scsi;

/// <summary>The targets of one initiator, among whose logical units EXTENDED COPY copies. Any thread.</summary>
public interface ICopyScope
{
    /// <summary>The targets at this moment.</summary>
    IEnumerable<ScsiTarget> Targets { get; }
}
