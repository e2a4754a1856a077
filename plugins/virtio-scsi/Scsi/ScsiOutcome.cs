using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Plugins.VirtioScsi.Scsi;

/// <summary>The device-writable header of a request (struct virtio_scsi_cmd_resp; virtio 1.3, section 5.6.6.1), copied out once.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ScsiOutcome
{
    public uint SenseLengthBytes;
    public uint ResidualBytes;
    public ushort StatusQualifier;
    public byte Status;
    public byte Response;
    public fixed byte Sense[96];

    /// <summary>A command that never got an answer.</summary>
    public static ScsiOutcome Lost => new() { Response = 9 };

    /// <summary>Whether the command did all that it was to do.</summary>
    public readonly bool IsGood => Response == 0 && Status == 0 && ResidualBytes == 0;

    /// <summary>What to do with the command.</summary>
    public readonly ScsiVerdict Judge()
    {
        switch (Response)
        {
            case 0:
                break;
            case 2:
                return new(BlockStatus.Aborted);
            case 3:
                return new(BlockStatus.NoDevice);
            case 4: // reset: the command had no effect that lasted
            case 5: // busy
            case 6: // transport failure
                return new(BlockStatus.IoError, CanRetry: true);
            default:
                return new(BlockStatus.IoError);
        }

        return Status switch
        {
            // Fewer bytes than asked for is not success, whatever the status says.
            0x00 => new(ResidualBytes == 0 ? BlockStatus.Success : BlockStatus.IoError),
            0x02 => JudgeSense(),
            0x08 or 0x28 or 0x40 => new(BlockStatus.Busy, CanRetry: true), // BUSY, TASK SET FULL, TASK ABORTED (by another initiator)
            0x18 => new(BlockStatus.ReservationConflict),
            _ => new(BlockStatus.IoError),
        };
    }

    /// <summary>For logs.</summary>
    public readonly string Describe()
    {
        var (key, code) = ReadSense();
        return Response != 0 ? $"virtio-scsi response {Response}"
            : Status == 2 ? $"CHECK CONDITION, sense key {key:x}, code {code >> 8:x2}/{code & 0xff:x2}"
            : ResidualBytes != 0 ? $"status 0x{Status:x2}, {ResidualBytes} bytes short"
            : $"status 0x{Status:x2}";
    }

    private readonly ScsiVerdict JudgeSense()
    {
        var (key, code) = ReadSense();
        return key switch
        {
            0x0 or 0x1 => new(ResidualBytes == 0 ? BlockStatus.Success : BlockStatus.IoError), // RECOVERED ERROR
            0x2 when code >> 8 == 0x3a => new(BlockStatus.NoDevice), // medium not present
            0x2 => new(BlockStatus.Busy, CanRetry: true),
            0x5 when code == 0x2100 => new(BlockStatus.OutOfRange, HasCapacityChanged: true),
            0x5 when code >> 8 == 0x25 => new(BlockStatus.NoDevice, HasInventoryChanged: true), // logical unit not supported
            0x5 when code >> 8 is 0x20 or 0x24 or 0x26 => new(BlockStatus.Unsupported),
            0x6 => new(BlockStatus.Busy, CanRetry: true, HasCapacityChanged: code == 0x2a09, HasInventoryChanged: code == 0x3f0e),
            0x7 when code == 0x2707 => new(BlockStatus.NoSpace),
            0x7 => new(BlockStatus.ReadOnly),
            0xb => new(BlockStatus.IoError, CanRetry: true), // ABORTED COMMAND
            0xe => new(BlockStatus.Miscompare),
            _ => new(BlockStatus.IoError),
        };
    }

    // Fixed (70, 71) and descriptor (72, 73) format (SPC-4, section 4.5). What is cut short reads as no sense.
    private readonly (int Key, int Code) ReadSense()
    {
        // SAFETY: no read goes past the length, which is cut to the 96 bytes that there are.
        fixed (byte* sense = Sense)
        {
            var length = Math.Min(SenseLengthBytes, 96);
            var format = length > 0 ? sense[0] & 0x7f : 0;
            return format switch
            {
                0x70 or 0x71 when length >= 14 => (sense[2] & 0xf, BinaryPrimitives.ReadUInt16BigEndian(new ReadOnlySpan<byte>(sense + 12, 2))),
                0x70 or 0x71 when length >= 3 => (sense[2] & 0xf, 0),
                0x72 or 0x73 when length >= 4 => (sense[1] & 0xf, BinaryPrimitives.ReadUInt16BigEndian(new ReadOnlySpan<byte>(sense + 2, 2))),
                _ => (0x4, 0), // a CHECK CONDITION without sense is a hardware error
            };
        }
    }
}

/// <summary>What an outcome means.</summary>
/// <param name="Status">The block status, if the command is not repeated.</param>
/// <param name="CanRetry">Whether repeating it is right: it had no effect, or it is idempotent.</param>
/// <param name="HasCapacityChanged">Whether the disk's capacity is to be read again.</param>
/// <param name="HasInventoryChanged">Whether the target is to be scanned again.</param>
internal readonly record struct ScsiVerdict(BlockStatus Status, bool CanRetry = false, bool HasCapacityChanged = false, bool HasInventoryChanged = false);
