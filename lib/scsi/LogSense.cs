using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>LOG SENSE (SPC-4, section 6.7): the lists of pages, and informational exceptions, of which there are none.</summary>
internal static unsafe class LogSense
{
    private const byte SupportedPages = 0x00;
    private const byte InformationalExceptions = 0x2F;
    private const byte AllSubpages = 0xFF;

    public static ScsiAction Execute(ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        if ((cdb[1] & 0x01) != 0)
        {
            return TaskResult.InvalidCdb(task, 1, 0);
        }

        ReadOnlySpan<byte> payload;
        switch (cdb[2] & 0x3F, cdb[3])
        {
            case (SupportedPages, 0):
                payload = [SupportedPages, InformationalExceptions];
                break;
            case (SupportedPages, AllSubpages):
                payload = [SupportedPages, 0, SupportedPages, AllSubpages, InformationalExceptions, 0];
                break;
            case (InformationalExceptions, 0):
                // Parameter 0000h: binary list format, no additional sense, no temperature.
                payload = [0x00, 0x00, 0x03, 0x04, 0x00, 0x00, 0xFF, 0x00];
                break;
            case (SupportedPages or InformationalExceptions, _):
                return TaskResult.InvalidCdb(task, 3);
            default:
                return TaskResult.InvalidCdb(task, 2, 5);
        }

        if (BinaryPrimitives.ReadUInt16BigEndian(cdb[5..]) != 0)
        {
            // No page has a parameter at or after that pointer.
            return TaskResult.InvalidCdb(task, 5);
        }

        var data = buffer.AsSpan(0, payload.Length + 4);
        data[0] = (byte)((cdb[2] & 0x3F) | (cdb[3] != 0 ? 0x40 : 0));
        data[1] = cdb[3];
        BinaryPrimitives.WriteUInt16BigEndian(data[2..], (ushort)payload.Length);
        payload.CopyTo(data[4..]);
        return TaskResult.SendData(task, data, BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]));
    }
}
