using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Vhost.Plugins.VirtioScsi.Scsi;

/// <summary>A command descriptor block of up to 16 bytes that this initiator sends (SPC-4, SBC-3), in the 32 bytes that virtio gives it.</summary>
[InlineArray(32)]
internal struct InitiatorCdb
{
    private byte _byte;

    /// <summary>TEST UNIT READY.</summary>
    public static InitiatorCdb TestUnitReady() => default;

    /// <summary>INQUIRY, standard data or a vital product data page.</summary>
    public static InitiatorCdb Inquiry(int? vitalProductPage, ushort allocationLength)
    {
        InitiatorCdb cdb = default;
        cdb[0] = 0x12;
        cdb[1] = (byte)(vitalProductPage is null ? 0 : 1);
        cdb[2] = (byte)(vitalProductPage ?? 0);
        BinaryPrimitives.WriteUInt16BigEndian(cdb[3..], allocationLength);
        return cdb;
    }

    /// <summary>REPORT LUNS, all addressable ones.</summary>
    public static InitiatorCdb ReportLuns(uint allocationLength)
    {
        InitiatorCdb cdb = default;
        cdb[0] = 0xa0;
        BinaryPrimitives.WriteUInt32BigEndian(cdb[6..], allocationLength);
        return cdb;
    }

    /// <summary>READ CAPACITY (10).</summary>
    public static InitiatorCdb ReadCapacity10()
    {
        InitiatorCdb cdb = default;
        cdb[0] = 0x25;
        return cdb;
    }

    /// <summary>READ CAPACITY (16).</summary>
    public static InitiatorCdb ReadCapacity16(uint allocationLength)
    {
        InitiatorCdb cdb = default;
        cdb[0] = 0x9e;
        cdb[1] = 0x10;
        BinaryPrimitives.WriteUInt32BigEndian(cdb[10..], allocationLength);
        return cdb;
    }

    /// <summary>MODE SENSE (6) without block descriptors.</summary>
    public static InitiatorCdb ModeSense6(byte page, byte allocationLength)
    {
        InitiatorCdb cdb = default;
        cdb[0] = 0x1a;
        cdb[1] = 0x08;
        cdb[2] = page;
        cdb[4] = allocationLength;
        return cdb;
    }

    /// <summary>READ (10) or (16), whichever is the shorter that holds the range.</summary>
    public static InitiatorCdb Read(ulong startBlock, uint blockCount) => Transfer(0x28, 0x88, startBlock, blockCount, false);

    /// <summary>WRITE (10) or (16).</summary>
    public static InitiatorCdb Write(ulong startBlock, uint blockCount, bool forceUnitAccess) => Transfer(0x2a, 0x8a, startBlock, blockCount, forceUnitAccess);

    /// <summary>SYNCHRONIZE CACHE (10): the whole medium.</summary>
    public static InitiatorCdb SynchronizeCache()
    {
        InitiatorCdb cdb = default;
        cdb[0] = 0x35;
        return cdb;
    }

    /// <summary>UNMAP with a parameter list.</summary>
    public static InitiatorCdb Unmap(ushort parameterListLength)
    {
        InitiatorCdb cdb = default;
        cdb[0] = 0x42;
        BinaryPrimitives.WriteUInt16BigEndian(cdb[7..], parameterListLength);
        return cdb;
    }

    /// <summary>WRITE SAME (16) of one block of data.</summary>
    public static InitiatorCdb WriteSame16(ulong startBlock, uint blockCount, bool unmap)
    {
        InitiatorCdb cdb = default;
        cdb[0] = 0x93;
        cdb[1] = (byte)(unmap ? 0x08 : 0);
        BinaryPrimitives.WriteUInt64BigEndian(cdb[2..], startBlock);
        BinaryPrimitives.WriteUInt32BigEndian(cdb[10..], blockCount);
        return cdb;
    }

    private static InitiatorCdb Transfer(byte short10, byte long16, ulong startBlock, uint blockCount, bool forceUnitAccess)
    {
        InitiatorCdb cdb = default;
        cdb[1] = (byte)(forceUnitAccess ? 0x08 : 0);
        if (startBlock <= uint.MaxValue && blockCount <= ushort.MaxValue)
        {
            cdb[0] = short10;
            BinaryPrimitives.WriteUInt32BigEndian(cdb[2..], (uint)startBlock);
            BinaryPrimitives.WriteUInt16BigEndian(cdb[7..], (ushort)blockCount);
        }
        else
        {
            cdb[0] = long16;
            BinaryPrimitives.WriteUInt64BigEndian(cdb[2..], startBlock);
            BinaryPrimitives.WriteUInt32BigEndian(cdb[10..], blockCount);
        }

        return cdb;
    }
}
