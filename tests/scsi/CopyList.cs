using System.Buffers.Binary;

namespace Vhost.Scsi.Tests;

/// <summary>Builds parameter lists of EXTENDED COPY (LID1).</summary>
public sealed class CopyList
{
    private readonly List<byte[]> _descriptors = [];
    private readonly List<byte[]> _segments = [];

    public byte ListId { get; set; } = 1;

    public byte Flags { get; set; }

    /// <summary>Adds a CSCD descriptor with the NAA designator of an initiator's unit.</summary>
    public CopyList Unit(Initiator initiator, uint blockSizeBytes = 512)
    {
        var page = initiator.Run("12 01 83 01 00 00", null, 256).Good().DataIn;
        return Unit(page[4..(4 + 4 + page[7])], blockSizeBytes);
    }

    public CopyList Unit(byte[] designator, uint blockSizeBytes = 512)
    {
        var descriptor = new byte[32];
        descriptor[0] = 0xE4;
        designator.CopyTo(descriptor, 4);
        BinaryPrimitives.WriteUInt32BigEndian(descriptor.AsSpan(28), blockSizeBytes);
        _descriptors.Add(descriptor);
        return this;
    }

    public CopyList Segment(int source, int destination, int count, ulong sourceLba, ulong destinationLba, byte flags = 0)
    {
        var segment = new byte[28];
        segment[0] = 0x02;
        segment[1] = flags;
        segment[3] = 0x18;
        segment[5] = (byte)source;
        segment[7] = (byte)destination;
        BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(10), (ushort)count);
        BinaryPrimitives.WriteUInt64BigEndian(segment.AsSpan(12), sourceLba);
        BinaryPrimitives.WriteUInt64BigEndian(segment.AsSpan(20), destinationLba);
        _segments.Add(segment);
        return this;
    }

    public byte[] Build()
    {
        var header = new byte[16];
        header[0] = ListId;
        header[1] = Flags;
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(2), (ushort)(32 * _descriptors.Count));
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(8), (uint)(28 * _segments.Count));
        return [.. header, .. _descriptors.SelectMany(one => one), .. _segments.SelectMany(one => one)];
    }

    public CommandResult Run(Initiator initiator) => Run(initiator, Build());

    public static CommandResult Run(Initiator initiator, byte[] list) => initiator.Run($"83 00 0000000000000000 {list.Length:X8} 00 00", list);
}
