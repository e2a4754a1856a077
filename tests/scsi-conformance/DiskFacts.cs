using System.Buffers.Binary;

namespace Vhost.Scsi.Conformance;

/// <summary>What the rules need to know of the disk; asked of itself, as initiators do.</summary>
/// <param name="BlockSize">Logical block size in bytes.</param>
/// <param name="BlockCount">Number of logical blocks.</param>
/// <param name="CanUnmap">Whether it is provisioned (LBPME) and unmaps.</param>
/// <param name="ReadsZeroes">Whether unmapped blocks read as zeroes (LBPRZ).</param>
/// <param name="MaxTransfer">The greatest transfer in blocks (VPD page B0h); 0 where there is no limit.</param>
/// <param name="MaxWriteSame">The greatest WRITE SAME in blocks; 0 where there is no limit, or none is possible.</param>
/// <param name="MaxCompare">The greatest COMPARE AND WRITE in blocks; 0 where it is not possible.</param>
/// <param name="MaxAtomic">The greatest WRITE ATOMIC in blocks; 0 where there is no limit, or none is possible.</param>
/// <param name="MaxAtomicBoundary">The greatest atomic boundary in blocks; 0 where there is none.</param>
/// <param name="HasCache">Whether there is a volatile write cache.</param>
/// <param name="Designator">The logical unit's NAA designator with its header (VPD page 83h).</param>
/// <param name="Operations">The operation codes that it lists, with -1 or the service action.</param>
public sealed record DiskFacts(
    int BlockSize,
    ulong BlockCount,
    bool CanUnmap,
    bool ReadsZeroes,
    uint MaxTransfer,
    ulong MaxWriteSame,
    int MaxCompare,
    uint MaxAtomic,
    uint MaxAtomicBoundary,
    bool HasCache,
    byte[] Designator,
    IReadOnlySet<(byte Code, int ServiceAction)> Operations)
{
    private const int MaxAttentions = 16;

    /// <summary>Whether a command is listed.</summary>
    public bool Knows(byte code, int serviceAction = -1) => Operations.Contains((code, serviceAction));

    /// <summary>Takes what unit attentions there are, and asks.</summary>
    /// <exception cref="InvalidOperationException">The disk does not answer what every disk answers.</exception>
    public static DiskFacts Ask(IScsiPort port)
    {
        for (var i = 0; port.Send([0, 0, 0, 0, 0, 0], [], 0) is { Status: not 0 } answer; i++)
        {
            if (answer.Key != 6 || i == MaxAttentions)
            {
                throw new InvalidOperationException($"the disk is not ready: {answer}");
            }
        }

        var capacity = Get(port, 32, 0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0);
        var limits = Get(port, 64, 0x12, 1, 0xB0, 0, 64, 0);
        var extended = Get(port, 64, 0x12, 1, 0x86, 0, 64, 0);
        var identification = Get(port, 255, 0x12, 1, 0x83, 0, 255, 0);
        var operations = new HashSet<(byte, int)>();
        var list = Get(port, 8192, 0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0);
        for (var at = 4; at + 8 <= list.Length; at += 8)
        {
            operations.Add((list[at], (list[at + 5] & 1) != 0 ? BinaryPrimitives.ReadUInt16BigEndian(list.AsSpan(at + 2)) : -1));
        }

        return new DiskFacts(
            BinaryPrimitives.ReadInt32BigEndian(capacity.AsSpan(8)),
            BinaryPrimitives.ReadUInt64BigEndian(capacity) + 1,
            (capacity[14] & 0x80) != 0,
            (capacity[14] & 0x40) != 0,
            BinaryPrimitives.ReadUInt32BigEndian(limits.AsSpan(8)),
            BinaryPrimitives.ReadUInt64BigEndian(limits.AsSpan(36)),
            limits[5],
            limits.Length < 64 ? 0 : BinaryPrimitives.ReadUInt32BigEndian(limits.AsSpan(44)),
            limits.Length < 64 ? 0 : BinaryPrimitives.ReadUInt32BigEndian(limits.AsSpan(60)),
            (extended[6] & 0x01) != 0,
            FindDesignator(identification),
            operations);
    }

    private static byte[] FindDesignator(byte[] page)
    {
        for (var at = 4; at + 4 <= page.Length; at += 4 + page[at + 3])
        {
            if (page[at + 1] == 0x03 && at + 4 + page[at + 3] <= page.Length)
            {
                return page[at..(at + 4 + page[at + 3])];
            }
        }

        throw new InvalidOperationException("page 83h has no NAA designator of the logical unit");
    }

    private static byte[] Get(IScsiPort port, int length, params byte[] cdb)
    {
        var answer = port.Send(cdb, [], length);
        return answer.Status == 0 ? answer.DataIn : throw new InvalidOperationException($"{Convert.ToHexString(cdb)}: {answer}");
    }
}
