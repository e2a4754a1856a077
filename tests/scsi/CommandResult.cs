namespace Vhost.Scsi.Tests;

/// <summary>What an initiator sees of a command.</summary>
public sealed record CommandResult(ServiceResponse Response, ScsiStatus Status, byte[] Sense, byte[] DataIn, ulong TransferredBytes)
{
    public bool IsDescriptorSense => Sense.Length > 0 && (Sense[0] & 0x7F) == 0x72;

    public SenseKey Key => (SenseKey)(Sense.Length == 0 ? 0 : IsDescriptorSense ? Sense[1] & 0x0F : Sense[2] & 0x0F);

    public AdditionalSense Additional
        => (AdditionalSense)(Sense.Length == 0 ? 0 : IsDescriptorSense ? (Sense[2] << 8) | Sense[3] : (Sense[12] << 8) | Sense[13]);

    /// <summary>The field pointer of fixed-format sense data: byte, bit (-1 for none), and whether it is in the CDB.</summary>
    public (int Byte, int Bit, bool IsInCdb) Field
        => ((Sense[16] << 8) | Sense[17], (Sense[15] & 0x08) != 0 ? Sense[15] & 0x07 : -1, (Sense[15] & 0x40) != 0);

    public bool HasField => Sense.Length >= 18 && (Sense[15] & 0x80) != 0;

    /// <summary>The COMMAND-SPECIFIC INFORMATION field of fixed-format sense data.</summary>
    public uint CommandSpecific => (uint)((Sense[8] << 24) | (Sense[9] << 16) | (Sense[10] << 8) | Sense[11]);

    public uint? Information => (Sense[0] & 0x80) == 0 ? null : (uint)((Sense[3] << 24) | (Sense[4] << 16) | (Sense[5] << 8) | Sense[6]);

    public CommandResult Good()
    {
        Assert.Equal(ServiceResponse.Complete, Response);
        Assert.True(Status == ScsiStatus.Good, $"{Status}: {Key} {Additional}");
        return this;
    }

    public CommandResult Check(SenseKey key, AdditionalSense additional)
    {
        Assert.Equal(ServiceResponse.Complete, Response);
        Assert.Equal(ScsiStatus.CheckCondition, Status);
        Assert.Equal((key, additional), (Key, Additional));
        return this;
    }

    public void IllegalField(int byteIndex, int bit = -1)
    {
        Check(SenseKey.IllegalRequest, AdditionalSense.InvalidFieldInCdb);
        Assert.Equal((byteIndex, bit, true), Field);
    }

    public void IllegalParameter(int byteIndex, int bit = -1)
    {
        Check(SenseKey.IllegalRequest, AdditionalSense.InvalidFieldInParameterList);
        Assert.Equal((byteIndex, bit, false), Field);
    }
}
