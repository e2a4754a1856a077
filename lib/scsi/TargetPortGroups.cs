using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>
/// REPORT TARGET PORT GROUPS (SPC-4, section 6.37). All ports reach a unit equally well, for ever: active/optimized, and no state can be set. As a group
/// has room for 255 ports, a process with more target ports has more groups.
/// </summary>
internal static unsafe class TargetPortGroups
{
    /// <summary>The TPGS field of INQUIRY: implicit asymmetric access.</summary>
    public const byte InquiryBits = 0x10;

    private const int MaxPorts = 255;
    private const byte ExtendedFormat = 0x20;

    /// <summary>The group that a target port belongs to.</summary>
    public static ushort GroupOf(ScsiTarget target) => (ushort)(((target.RelativePortId - 1) / MaxPorts) + 1);

    public static ScsiAction Execute(ItlNexus nexus, ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        var format = cdb[1] & 0xE0;
        if (format is not (0 or ExtendedFormat))
        {
            return TaskResult.InvalidCdb(task, 1, 7);
        }

        var length = 4;
        if (format == ExtendedFormat)
        {
            buffer.AsSpan(4, 4).Clear();
            buffer[4] = 0x10; // the length-only header with the implicit transition time, 0: there is no transition
            length = 8;
        }

        lock (nexus.Unit.SharedLock)
        {
            foreach (var group in nexus.Unit.Nexuses.GroupBy(other => GroupOf(other.Target)).OrderBy(group => group.Key))
            {
                var ports = group.Select(other => other.Target.RelativePortId).Order().ToArray();
                if (buffer.Length - length < 8 + (4 * ports.Length))
                {
                    break;
                }

                var descriptor = buffer.AsSpan(length, 8 + (4 * ports.Length));
                descriptor.Clear();
                descriptor[1] = 0x01; // AO_SUP, and no other state
                BinaryPrimitives.WriteUInt16BigEndian(descriptor[2..], group.Key);
                descriptor[7] = (byte)ports.Length;
                for (var i = 0; i < ports.Length; i++)
                {
                    BinaryPrimitives.WriteUInt16BigEndian(descriptor[(10 + (4 * i))..], ports[i]);
                }

                length += descriptor.Length;
            }
        }

        BinaryPrimitives.WriteUInt32BigEndian(buffer, (uint)(length - 4));
        return TaskResult.SendData(task, buffer.AsSpan(0, length), BinaryPrimitives.ReadUInt32BigEndian(cdb[6..]));
    }
}
