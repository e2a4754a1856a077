using Vhost.Scsi.Conformance;

namespace Vhost.Scsi.Tests;

/// <summary>The way of the conformance suite to a disk in this process: as a transport does, it tells length and residual.</summary>
internal sealed class InProcessPort(Initiator initiator) : IScsiPort
{
    public Answer Send(ReadOnlySpan<byte> cdb, ReadOnlySpan<byte> dataOut, int dataInLength)
    {
        var result = initiator.Run(cdb.ToArray(), dataOut.ToArray(), dataInLength);
        var used = result.Status == ScsiStatus.Good ? (int)result.TransferredBytes : 0;
        return new Answer(
            result.Response == ServiceResponse.Complete ? (int)result.Status : -1,
            result.Sense,
            result.DataIn[..Math.Min(used, dataInLength)],
            Math.Max(dataOut.Length, dataInLength) - used);
    }
}
