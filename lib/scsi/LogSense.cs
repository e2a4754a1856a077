using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>
/// LOG SENSE (SPC-4, sections 6.7 and 7.3). Pages hold what is known of a bdev and no other parameters: no bdev tells of corrected errors.
/// Nothing is saved, and counters can be reset and not set.
/// </summary>
internal static unsafe class LogSense
{
    public const byte SupportedPages = 0x00;
    public const byte WriteErrors = 0x02;
    public const byte ReadErrors = 0x03;
    public const byte VerifyErrors = 0x05;
    public const byte SelfTestResults = 0x10;
    public const byte GeneralStatistics = 0x19;
    public const byte AllSubpages = 0xFF;
    private const byte Temperature = 0x0D;
    private const byte StartStop = 0x0E;
    private const byte SolidStateMedia = 0x11;
    private const byte InformationalExceptions = 0x2F;

    // Parameter control bytes: TSD, as nothing is saved; then a bounded or an unbounded data counter, or a binary list.
    private const byte Counter = 0x20;
    public const byte UnboundedCounter = 0x22;
    public const byte BinaryList = 0x23;

    private static ReadOnlySpan<byte> AllPages =>
        [SupportedPages, WriteErrors, ReadErrors, VerifyErrors, Temperature, StartStop, SelfTestResults, SolidStateMedia, GeneralStatistics, InformationalExceptions];

    /// <summary>Whether there is such a page: that of solid state media only where the bdev tells how worn it is.</summary>
    public static bool HasPage(LogicalUnitState state, byte page) => AllPages.Contains(page) && (page != SolidStateMedia || state.Info.LifeUsedPercent is not null);

    public static ScsiAction Execute(ItlNexus nexus, LogicalUnitState state, ScsiTask* task, byte[] buffer)
    {
        var cdb = ScsiTask.CdbOf(task);
        if ((cdb[1] & 0x01) != 0)
        {
            return TaskResult.InvalidCdb(task, 1, 0);
        }

        var page = (byte)(cdb[2] & 0x3F);
        if (!HasPage(state, page))
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
            length = pointer == 0 ? WriteSupportedPages(payload, state, subpage != 0) : 0;
        }
        else
        {
            // The PC field chooses thresholds or values of counters, current or default; lists have their values whatever it says. No counter here has a threshold: values are
            // cumulative, and 0 by default.
            var isDefault = cdb[2] >> 6 is 0 or 2 or 3;
            length = page == GeneralStatistics
                ? StatisticsPage.Write(payload, pointer, nexus.Unit.Log, isDefault)
                : WriteParameters(payload, page, pointer, nexus.Unit.Log, state, isDefault);
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

    // 0 stands for all that is not above it, and 255 for not known.
    private static byte TemperatureOf(LogicalUnitState state) => state.Info.TemperatureCelsius is { } celsius ? (byte)Math.Clamp(celsius, 0, 254) : byte.MaxValue;

    private static int WriteSupportedPages(Span<byte> payload, LogicalUnitState state, bool withSubpages)
    {
        var length = 0;
        foreach (var page in AllPages)
        {
            if (!HasPage(state, page))
            {
                continue;
            }

            payload[length++] = page;
            if (!withSubpages)
            {
                continue;
            }

            payload[length++] = 0;
            if (page == SupportedPages)
            {
                payload[length++] = page;
                payload[length++] = AllSubpages;
            }
        }

        return length;
    }

    private static int WriteParameters(Span<byte> payload, byte page, ushort pointer, UnitLog log, LogicalUnitState state, bool isDefault)
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
                value[1] = TemperatureOf(state);
                return WriteParameter(payload, 0x0000, pointer, BinaryList, value[..2]);
            case StartStop:
                // Accumulated start-stop cycles.
                BinaryPrimitives.WriteInt32BigEndian(value, log.StartCount);
                return WriteParameter(payload, 0x0004, pointer, BinaryList, value[..4]);
            case SelfTestResults:
                return WriteSelfTests(payload, pointer, log.GetSelfTests(), value);
            case SolidStateMedia:
                // Percentage used endurance indicator.
                value.Clear();
                value[3] = (byte)Math.Min(byte.MaxValue, state.Info.LifeUsedPercent ?? 0);
                return WriteParameter(payload, 0x0001, pointer, BinaryList, value[..4]);
            default:
                value.Clear();
                value[2] = TemperatureOf(state); // and no exception
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

    /// <summary>Writes a parameter, unless it comes before the one that was asked for.</summary>
    public static int WriteParameter(Span<byte> payload, ushort code, ushort pointer, byte control, ReadOnlySpan<byte> value)
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
