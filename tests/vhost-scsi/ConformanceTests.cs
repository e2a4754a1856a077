using Vhost.Abstractions;
using Vhost.Scsi.Conformance;
using Vhost.Testing;

namespace Vhost.VhostScsi.Tests;

/// <summary>The conformance suite through virtqueues: what the headers say of status, sense data and residual is looked at, too.</summary>
public sealed class ConformanceTests
{
    [Theory]
    [InlineData(VirtqueueFormat.Split, 0)]
    [InlineData(VirtqueueFormat.Packed, 1000)]
    public void A_disk_behind_a_controller_conforms(VirtqueueFormat format, int pieceLength)
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [7] = disk }, format: format, tableEntries: 256, ramBytes: 64 << 20);
        guest.PieceLength = pieceLength;
        var result = Suite.Run(new GuestPort(guest));
        Assert.True(result.Failures.Count == 0, string.Join("\n", result.Failures));
        Assert.True(result.Rules > 100 && result.Commands > 1500, $"{result.Rules} rules, {result.Commands} commands");
    }

    private sealed class GuestPort(ScsiGuest guest) : IScsiPort
    {
        public Answer Send(ReadOnlySpan<byte> cdb, ReadOnlySpan<byte> dataOut, int dataInLength)
        {
            var answer = guest.Command(7, Convert.ToHexString(cdb), dataOut.Length == 0 ? null : dataOut.ToArray(), dataInLength);
            var used = dataInLength == 0 ? 0 : dataInLength - (int)answer.Residual;
            return new Answer(
                answer.Response == 0 ? answer.Status : -1,
                answer.Sense[..(int)answer.SenseLength],
                answer.Status == 0 ? answer.DataIn[..used] : [],
                (int)answer.Residual);
        }
    }
}
