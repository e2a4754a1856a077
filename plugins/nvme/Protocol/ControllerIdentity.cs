using System.Buffers.Binary;
using System.Text;

namespace Vhost.Plugins.Nvme.Protocol;

/// <summary>What the driver reads from the Identify Controller data structure (NVM Express Base 2.0, figure 275).</summary>
internal sealed record ControllerIdentity
{
    public required string SerialNumber { get; init; }

    public required string ModelNumber { get; init; }

    public required string FirmwareRevision { get; init; }

    /// <summary>Greatest data transfer of a command in bytes, or <see cref="uint.MaxValue"/> without a limit (MDTS, in units of the 4096-byte minimum page).</summary>
    public required uint MaxTransferBytes { get; init; }

    /// <summary>Number of the greatest namespace id (NN).</summary>
    public required uint NamespaceCount { get; init; }

    /// <summary>Async event requests that may be outstanding (AERL + 1).</summary>
    public required int AsyncEventLimit { get; init; }

    /// <summary>Optional async events (OAES).</summary>
    public required uint AsyncEventsSupported { get; init; }

    public required bool HasDoorbellBuffers { get; init; }

    public required bool HasCompare { get; init; }

    public required bool HasDatasetManagement { get; init; }

    public required bool HasWriteZeroes { get; init; }

    public required bool HasVolatileWriteCache { get; init; }

    /// <summary>Whether SGLs may describe the data of NVM commands.</summary>
    public required bool HasSgl { get; init; }

    /// <summary>Whether the addresses and lengths of an SGL are multiples of 4.</summary>
    public required bool SglNeedsDwords { get; init; }

    /// <summary>Whether the submission entry can be 64 bytes and the completion entry 16, as every controller must allow.</summary>
    public required bool HasStandardEntrySizes { get; init; }

    /// <summary>The greatest write, in blocks, that a loss of power leaves wholly done or not at all (AWUPF + 1).</summary>
    public required uint AtomicWriteBlocks { get; init; }

    /// <summary>How long an orderly shutdown takes at most (RTD3E), or null where the controller does not say.</summary>
    public required TimeSpan? ShutdownTime { get; init; }

    /// <summary>Decodes the 4096 bytes.</summary>
    public static ControllerIdentity Decode(ReadOnlySpan<byte> data)
    {
        var maxTransferShift = data[77];
        var optionalAdmin = BinaryPrimitives.ReadUInt16LittleEndian(data[256..]);
        var optionalNvm = BinaryPrimitives.ReadUInt16LittleEndian(data[520..]);
        var sgl = BinaryPrimitives.ReadUInt32LittleEndian(data[536..]) & 3;
        var shutdownMicroseconds = BinaryPrimitives.ReadUInt32LittleEndian(data[88..]);
        return new()
        {
            SerialNumber = Text(data.Slice(4, 20)),
            ModelNumber = Text(data.Slice(24, 40)),
            FirmwareRevision = Text(data.Slice(64, 8)),
            MaxTransferBytes = maxTransferShift is 0 or > 19 ? uint.MaxValue : 4096u << maxTransferShift,
            ShutdownTime = shutdownMicroseconds == 0 ? null : TimeSpan.FromMicroseconds(shutdownMicroseconds),
            AsyncEventsSupported = BinaryPrimitives.ReadUInt32LittleEndian(data[92..]),
            HasDoorbellBuffers = (optionalAdmin & (1 << 8)) != 0,
            AsyncEventLimit = data[259] + 1,
            HasStandardEntrySizes = (data[512] & 0xf) <= 6 && data[512] >> 4 >= 6 && (data[513] & 0xf) <= 4 && data[513] >> 4 >= 4,
            NamespaceCount = BinaryPrimitives.ReadUInt32LittleEndian(data[516..]),
            HasCompare = (optionalNvm & 1) != 0,
            HasDatasetManagement = (optionalNvm & 4) != 0,
            HasWriteZeroes = (optionalNvm & 8) != 0,
            HasVolatileWriteCache = (data[525] & 1) != 0,
            AtomicWriteBlocks = BinaryPrimitives.ReadUInt16LittleEndian(data[528..]) + 1u,
            HasSgl = sgl is 1 or 2,
            SglNeedsDwords = sgl == 2,
        };
    }

    // Identify strings are ASCII padded with spaces; a hostile device may put anything there, and it ends up in logs and INQUIRY data.
    private static string Text(ReadOnlySpan<byte> field)
    {
        var text = new StringBuilder(field.Length);
        foreach (var value in field)
        {
            text.Append(value is >= 0x20 and < 0x7f ? (char)value : ' ');
        }

        return text.ToString().Trim();
    }
}
