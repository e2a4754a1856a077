using System.Buffers.Binary;
using System.Diagnostics;

namespace Vhost.Scsi;

/// <summary>
/// The General Statistics and Performance log page (SPC-5, section 7.3.6). Its time interval is a microsecond. A command's time begins with the turn in which the reactor took it, and ends with
/// the batch in which it was completed. There is no command priority, and with it no weight.
/// </summary>
internal static class StatisticsPage
{
    private const ushort GeneralAccess = 0x0001;
    private const ushort IdleTime = 0x0002;
    private const ushort TimeInterval = 0x0003;
    private const ushort ForceUnitAccess = 0x0004;
    private const int IntervalExponent = 6;
    private const int Reads = 0;
    private const int Writes = 1;

    /// <summary>Writes the parameters at and after a pointer.</summary>
    public static int Write(Span<byte> payload, ushort pointer, UnitLog log, bool isDefault)
    {
        Span<long> totals = stackalloc long[(int)CommandTotal.Count];
        totals.Clear();
        if (!isDefault)
        {
            log.Sum(totals);
        }

        Span<byte> value = stackalloc byte[64];
        value.Clear();
        Put(value, 0, totals[(int)CommandTotal.Commands + Reads]);
        Put(value, 1, totals[(int)CommandTotal.Commands + Writes]);
        Put(value, 2, totals[(int)CommandTotal.Blocks + Writes]);
        Put(value, 3, totals[(int)CommandTotal.Blocks + Reads]);
        Put(value, 4, ToIntervals(totals[(int)CommandTotal.Ticks + Reads]));
        Put(value, 5, ToIntervals(totals[(int)CommandTotal.Ticks + Writes]));
        var length = LogSense.WriteParameter(payload, GeneralAccess, pointer, LogSense.UnboundedCounter, value);

        Put(value, 0, isDefault ? 0 : ToIntervals(log.GetIdleTicks()));
        length += LogSense.WriteParameter(payload[length..], IdleTime, pointer, LogSense.UnboundedCounter, value[..8]);

        BinaryPrimitives.WriteInt32BigEndian(value, IntervalExponent);
        BinaryPrimitives.WriteInt32BigEndian(value[4..], 1);
        length += LogSense.WriteParameter(payload[length..], TimeInterval, pointer, LogSense.BinaryList, value[..8]);

        value.Clear();
        Put(value, 0, totals[(int)CommandTotal.ForcedCommands + Reads]);
        Put(value, 1, totals[(int)CommandTotal.ForcedCommands + Writes]);
        Put(value, 4, ToIntervals(totals[(int)CommandTotal.ForcedTicks + Reads]));
        Put(value, 5, ToIntervals(totals[(int)CommandTotal.ForcedTicks + Writes]));
        return length + LogSense.WriteParameter(payload[length..], ForceUnitAccess, pointer, LogSense.UnboundedCounter, value);
    }

    private static void Put(Span<byte> value, int field, long number) => BinaryPrimitives.WriteInt64BigEndian(value[(8 * field)..], number);

    private static long ToIntervals(long ticks) => (long)((Int128)ticks * 1_000_000 / Stopwatch.Frequency);
}
