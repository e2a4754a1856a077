using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>The vital product data pages (SPC-4, section 7.8; SBC-3, section 6.6).</summary>
internal static class VitalProductData
{
    public const byte SupportedPages = 0x00;
    public const byte DeviceIdentification = 0x83;
    private const byte UnitSerialNumber = 0x80;
    private const byte ManagementNetworkAddresses = 0x85;
    private const byte ExtendedInquiry = 0x86;
    private const byte ModePagePolicy = 0x87;
    private const byte ScsiPorts = 0x88;
    private const byte ThirdPartyCopyPage = 0x8F;
    private const byte BlockLimits = 0xB0;
    private const byte BlockDeviceCharacteristics = 0xB1;
    private const byte LogicalBlockProvisioning = 0xB2;

    /// <summary>Writes a page.</summary>
    /// <returns>Its length; 0 if there is no such page.</returns>
    public static int Write(ItlNexus nexus, LogicalUnitState state, byte page, byte[] buffer)
    {
        var payload = buffer.AsSpan(4);
        var length = page switch
        {
            SupportedPages => WriteSupportedPages(state, payload),
            UnitSerialNumber => WriteSerial(state, payload),
            DeviceIdentification => WriteIdentification(nexus, state, payload),
            ManagementNetworkAddresses => 0,
            ExtendedInquiry => WriteExtendedInquiry(state, payload),
            ModePagePolicy => WriteModePagePolicy(payload),
            ScsiPorts => WritePorts(nexus, payload),
            ThirdPartyCopyPage => ThirdPartyCopy.Write(payload),
            BlockLimits => WriteBlockLimits(state, payload),
            BlockDeviceCharacteristics => WriteCharacteristics(state, payload),
            LogicalBlockProvisioning when state.CanDiscard => WriteProvisioning(state, payload),
            _ => -1,
        };
        return length < 0 ? 0 : WriteHeader(buffer, 0x00, page, length);
    }

    /// <summary>Writes page 83h of a well-known logical unit: it is known by its target port.</summary>
    public static int WriteWellKnownIdentification(ScsiTarget target, byte peripheral, byte[] buffer)
        => WriteHeader(buffer, peripheral, DeviceIdentification, Designators.WriteTargetPort(buffer.AsSpan(4), target));

    private static int WriteHeader(byte[] buffer, byte peripheral, byte page, int payloadLength)
    {
        buffer[0] = peripheral;
        buffer[1] = page;
        BinaryPrimitives.WriteUInt16BigEndian(buffer.AsSpan(2), (ushort)payloadLength);
        return payloadLength + 4;
    }

    private static int WriteSupportedPages(LogicalUnitState state, Span<byte> payload)
    {
        ReadOnlySpan<byte> pages =
        [
            SupportedPages, UnitSerialNumber, DeviceIdentification, ManagementNetworkAddresses, ExtendedInquiry, ModePagePolicy, ScsiPorts,
            ThirdPartyCopyPage, BlockLimits, BlockDeviceCharacteristics, LogicalBlockProvisioning,
        ];
        var count = state.CanDiscard ? pages.Length : pages.Length - 1;
        pages[..count].CopyTo(payload);
        return count;
    }

    private static int WriteSerial(LogicalUnitState state, Span<byte> payload)
    {
        var serial = state.Identity.Serial;
        Inquiry.WriteAscii(payload[..serial.Length], serial);
        return serial.Length;
    }

    private static int WriteIdentification(ItlNexus nexus, LogicalUnitState state, Span<byte> payload)
    {
        var length = Designators.WriteUnit(payload, state.Identity);
        return length + Designators.WriteTargetPort(payload[length..], nexus.Target);
    }

    private static int WriteExtendedInquiry(LogicalUnitState state, Span<byte> payload)
    {
        var page = Cleared(payload, 0x3C);
        page[1] = 0x01; // SIMPSUP
        page[2] = (byte)(state.Info.HasVolatileWriteCache ? 0x01 : 0x00); // V_SUP
        page[9] = SenseBytes.LengthBytes;
        return page.Length;
    }

    private static int WriteModePagePolicy(Span<byte> payload)
    {
        // All pages and subpages: shared by all target and initiator ports.
        ReadOnlySpan<byte> policy = [0x3F, 0xFF, 0x00, 0x00];
        policy.CopyTo(payload);
        return policy.Length;
    }

    private static int WritePorts(ItlNexus nexus, Span<byte> payload)
    {
        var length = 0;
        lock (nexus.Unit.SharedLock)
        {
            foreach (var other in nexus.Unit.Nexuses)
            {
                if (payload.Length - length < 64)
                {
                    break;
                }

                var port = Cleared(payload[length..], 12);
                BinaryPrimitives.WriteUInt16BigEndian(port[2..], other.Target.RelativePortId);
                var designators = Designators.WritePortName(payload[(length + 12)..], other.Target);
                BinaryPrimitives.WriteUInt16BigEndian(port[10..], (ushort)designators);
                length += port.Length + designators;
            }
        }

        return length;
    }

    private static int WriteBlockLimits(LogicalUnitState state, Span<byte> payload)
    {
        // Field offsets are those of the standard less the header's four.
        var page = Cleared(payload, 0x3C);
        var physicalBlocks = Math.Max(1, state.Info.PhysicalBlockSizeBytes / state.BlockSizeBytes);
        page[0] = 0x01; // WSNZ: WRITE SAME of no blocks does not mean all of them
        page[1] = (byte)(state.CanCompareAndWrite ? state.MaxCompareAndWriteBlocks : 0);
        BinaryPrimitives.WriteUInt16BigEndian(page[2..], (ushort)Math.Min(physicalBlocks, ushort.MaxValue));
        BinaryPrimitives.WriteUInt32BigEndian(page[4..], state.MaxTransferBlocks);
        BinaryPrimitives.WriteUInt32BigEndian(page[8..], Math.Min(state.Info.OptimalTransferBlocks, state.MaxTransferBlocks));
        if (state.CanDiscard)
        {
            BinaryPrimitives.WriteUInt32BigEndian(page[16..], state.MaxUnmapBlocks);
            BinaryPrimitives.WriteUInt32BigEndian(page[20..], Unmap.MaxDescriptors);
            BinaryPrimitives.WriteUInt32BigEndian(page[24..], Math.Max(1, state.Info.DiscardGranularityBlocks));
            page[28] = 0x80; // UGAVALID, alignment 0
        }

        if (state.CanWriteZeroes)
        {
            BinaryPrimitives.WriteUInt64BigEndian(page[32..], state.MaxWriteSameBlocks);
        }

        // No alignment, no granularity, and one atomic write a command: without an atomic boundary.
        BinaryPrimitives.WriteUInt32BigEndian(page[40..], state.MaxAtomicBlocks);
        return page.Length;
    }

    private static int WriteCharacteristics(LogicalUnitState state, Span<byte> payload)
    {
        var page = Cleared(payload, 0x3C);
        BinaryPrimitives.WriteUInt16BigEndian(page, (ushort)(state.Info.IsRotational ? 7200 : 1));
        return page.Length;
    }

    private static int WriteProvisioning(LogicalUnitState state, Span<byte> payload)
    {
        var page = Cleared(payload, 4);
        page[1] = (byte)(0x80 | (state.CanWriteZeroes ? 0x60 : 0) | (state.Info.DiscardReadsZeroes ? 0x04 : 0)); // LBPU, LBPWS, LBPWS10, LBPRZ
        page[2] = 0x02; // thin provisioning
        return page.Length;
    }

    private static Span<byte> Cleared(Span<byte> payload, int length)
    {
        var page = payload[..length];
        page.Clear();
        return page;
    }
}
