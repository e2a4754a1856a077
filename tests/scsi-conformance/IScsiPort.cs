namespace Vhost.Scsi.Conformance;

/// <summary>A way to a logical unit: commands go out, one at a time, and answers come back.</summary>
public interface IScsiPort
{
    /// <summary>Sends a command and waits for its end.</summary>
    /// <param name="cdb">The CDB, in its own length.</param>
    /// <param name="dataOut">What is sent; empty for none. Not both this and data that come back.</param>
    /// <param name="dataInLength">Room for what comes back.</param>
    Answer Send(ReadOnlySpan<byte> cdb, ReadOnlySpan<byte> dataOut, int dataInLength);
}
