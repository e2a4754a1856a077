using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>
/// LOG SENSE (SPC-4, sections 6.7 and 7.3). Pages hold what is known of a bdev and no other parameters: no bdev tells of corrected errors, or of its
/// temperature. Nothing is saved, and counters cannot be set.
/// </summary>
internal static unsafe class LogSense
{
    private const byte SupportedPages = 0x00;
    private const byte WriteErrors = 0x02;
    private const byte ReadErrors = 0x03;
    private const byte VerifyErrors = 0x05;
    private const byte Temperature = 0x0D;
    private const byte StartStop = 0x0E;
    private const byte SelfTestResults = 0x10;
    private const byte InformationalExceptions = 0x2F;
    private const byte AllSubpages = 0xFF;

    // Parameter control bytes: TSD, as nothing is saved; then a data counter or a binary list.
    private const byte Counter = 0x20;
    private const byte BinaryList = 0x23;

    private static ReadOnlySpan<byte> Pages =>
        [SupportedPages, WriteErrors, ReadErrors, VerifyErrors, Temperature, StartStop, SelfTestResults, InformationalExceptions];

    public static ScsiAction Execute(ItlNexus nexus, ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        if ((cdb[1] & 0x01) != 0)
        {
            return TaskResult.InvalidCdb(task, 1, 0);
        }

        var page = (byte)(cdb[2] & 0x3F);
        if (!Pages.Contains(page))
        {
            return TaskResult.InvalidCdb(task, 2, 5);
        }

        var subpage = cdb[3];
        if (subpage != 0 && (subpage != AllSubpages || page != SupportedPages))
        {
            return TaskResult.InvalidCdb(task, 3);
        }

        var pointer = BinaryPrimitives.ReadUInt16BigEndian(cdb[5..]);
        var payload = buffer.AsSpan(4);
        int length;
        if (page == SupportedPages)
        {
            length = pointer == 0 ? WriteSupportedPages(payload, subpage != 0) : 0;
        }
        else
        {
            // The PC field chooses thresholds or values, current or default. The pages here have no thresholds: values are cumulative, and 0 by default.
            var isDefault = cdb[2] >> 6 is 0 or 2 or 3;
            length = WriteParameters(payload, page, pointer, nexus.Unit.Log, isDefault);
        }

        if (length == 0)
        {
            // No parameter at or after that pointer.
            return TaskResult.InvalidCdb(task, 5);
        }

        buffer[0] = (byte)(page | (subpage != 0 ? 0x40 : 0));
        buffer[1] = subpage;
        BinaryPrimitives.WriteUInt16BigEndian(buffer.AsSpan(2), (ushort)length);
        return TaskResult.SendData(task, buffer.AsSpan(0, length + 4), BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]));
    }

    private static int WriteSupportedPages(Span<byte> payload, bool withSubpages)
    {
        if (!withSubpages)
        {
            Pages.CopyTo(payload);
            return Pages.Length;
        }

        var length = 0;
        foreach (var page in Pages)
        {
            payload[length++] = page;
            payload[length++] = 0;
            if (page == SupportedPages)
            {
                payload[length++] = page;
                payload[length++] = AllSubpages;
            }
        }

        return length;
    }

    private static int WriteParameters(Span<byte> payload, byte page, ushort pointer, UnitLog log, bool isDefault)
    {
        Span<byte> value = stackalloc byte[16];
        switch (page)
        {
            case WriteErrors or ReadErrors or VerifyErrors:
                // Total uncorrected errors.
                BinaryPrimitives.WriteInt64BigEndian(value, isDefault ? 0 : page == WriteErrors ? log.WriteErrors : page == ReadErrors ? log.ReadErrors : log.VerifyErrors);
                return WriteParameter(payload, 0x0006, pointer, Counter, value[..8]);
            case Temperature:
                value[0] = 0;
                value[1] = 0xFF; // not known
                return WriteParameter(payload, 0x0000, pointer, BinaryList, value[..2]);
            case StartStop:
                // Accumulated start-stop cycles.
                BinaryPrimitives.WriteInt32BigEndian(value, isDefault ? 0 : log.StartCount);
                return WriteParameter(payload, 0x0004, pointer, BinaryList, value[..4]);
            case SelfTestResults:
                return WriteSelfTests(payload, pointer, isDefault ? [] : log.GetSelfTests(), value);
            default:
                value.Clear();
                value[2] = 0xFF; // no exception; temperature not known
                return WriteParameter(payload, 0x0000, pointer, BinaryList, value[..4]);
        }
    }

    private static int WriteSelfTests(Span<byte> payload, ushort pointer, ReadOnlySpan<UnitLog.SelfTest> tests, Span<byte> value)
    {
        var length = 0;
        for (var i = 0; i < UnitLog.MaxSelfTests; i++)
        {
            value.Clear();
            if (i < tests.Length)
            {
                var test = tests[i];
                value[0] = (byte)((test.Code << 5) | test.Result);
                BinaryPrimitives.WriteUInt16BigEndian(value[2..], test.Hours);
                BinaryPrimitives.WriteUInt64BigEndian(value[4..], test.FailedLba);
                value[12] = (byte)test.Key;
                BinaryPrimitives.WriteUInt16BigEndian(value[13..], (ushort)test.Additional);
            }

            length += WriteParameter(payload[length..], (ushort)(i + 1), pointer, BinaryList, value);
        }

        return length;
    }

    private static int WriteParameter(Span<byte> payload, ushort code, ushort pointer, byte control, ReadOnlySpan<byte> value)
    {
        if (code < pointer)
        {
            return 0;
        }

        BinaryPrimitives.WriteUInt16BigEndian(payload, code);
        payload[2] = control;
        payload[3] = (byte)value.Length;
        value.CopyTo(payload[4..]);
        return 4 + value.Length;
    }
}
