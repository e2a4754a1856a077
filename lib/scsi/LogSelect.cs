using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>LOG SELECT (SPC-4, section 6.5) without a parameter list: it resets what was counted. Parameters cannot be set to a value, and nothing is saved.</summary>
internal static unsafe class LogSelect
{
    private const byte ParameterCodeResetBit = 0x02;
    private const int DefaultCumulativeValues = 3;

    public static ScsiAction Execute(ItlNexus nexus, LogicalUnitState state, ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        var page = (byte)(cdb[2] & 0x3F);
        var subpage = cdb[3];
        var hasList = BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]) != 0;
        if (hasList ? page != 0 : !LogSense.HasPage(state, page))
        {
            return TaskResult.InvalidCdb(task, 2, 5);
        }

        if (subpage != 0 && (hasList || subpage != LogSense.AllSubpages))
        {
            return TaskResult.InvalidCdb(task, 3);
        }

        if (hasList)
        {
            return TaskResult.InvalidCdb(task, 7);
        }

        // Table 186 of SPC-5: PCR resets counters and lists; without it, the default cumulative values become those of the counters.
        var resetsLists = (cdb[1] & ParameterCodeResetBit) != 0;
        if (!resetsLists && cdb[2] >> 6 != DefaultCumulativeValues)
        {
            return TaskResult.Good(task);
        }

        Reset(nexus.Unit.Log, page, resetsLists);
        lock (nexus.Unit.SharedLock)
        {
            nexus.Unit.EstablishForAll(UnitAttentions.LogParametersChanged, except: nexus);
        }

        return TaskResult.Good(task);
    }

    // Page 0 without a subpage stands for all pages. What a page has that is never reset (temperature, starts, wear) stays.
    private static void Reset(UnitLog log, byte page, bool resetsLists)
    {
        var isAll = page == LogSense.SupportedPages;
        if (isAll || page == LogSense.WriteErrors)
        {
            log.ResetWriteErrors();
        }

        if (isAll || page == LogSense.ReadErrors)
        {
            log.ResetReadErrors();
        }

        if (isAll || page == LogSense.VerifyErrors)
        {
            log.ResetVerifyErrors();
        }

        if (isAll || page == LogSense.GeneralStatistics)
        {
            log.ResetStatistics();
        }

        if (resetsLists && (isAll || page == LogSense.SelfTestResults))
        {
            log.ForgetSelfTests();
        }
    }
}
