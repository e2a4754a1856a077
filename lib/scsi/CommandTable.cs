using static Vhost.Scsi.CommandTraits;

namespace Vhost.Scsi;

/// <summary>All commands, with the bits that each CDB may use. It serves the check of every command and REPORT SUPPORTED OPERATION CODES.</summary>
internal static class CommandTable
{
    // Commands that read or write the medium; see SBC-3, table 13, for the reservations.
    private const CommandTraits ReadTraits = NeedsMedium | ConflictsWithExclusiveAccess | ConflictsWithReserve6;
    private const CommandTraits WriteTraits = NeedsMedium | Writes | ConflictsWithAnyReservation | ConflictsWithReserve6;
    private const CommandTraits GuardedTraits = ConflictsWithAnyReservation | ConflictsWithReserve6;

    public static readonly CommandDescriptor[] All =
    [
        new(CommandKind.TestUnitReady, "00 00 00 00 00 00", NeedsMedium | ConflictsWithReserve6),
        new(CommandKind.RequestSense, "03 01 00 00 FF 00", IgnoresUnitAttention | WorksUnattached),
        new(CommandKind.Read, "08 1F FF FF FF 00", ReadTraits),
        new(CommandKind.Write, "0A 1F FF FF FF 00", WriteTraits),
        new(CommandKind.Inquiry, "12 01 FF FF FF 00", IgnoresUnitAttention | WorksUnattached),
        new(CommandKind.ModeSelect, "15 11 00 00 FF 00", GuardedTraits),
        new(CommandKind.Reserve, "16 00 00 00 00 00", ConflictsWithReserve6),
        new(CommandKind.Release, "17 00 00 00 00 00", None),
        new(CommandKind.ModeSense, "1A 08 FF FF FF 00", GuardedTraits),
        new(CommandKind.StartStopUnit, "1B 01 00 0F F7 00", ConflictsWithReserve6),
        new(CommandKind.SendDiagnostic, "1D F7 00 FF FF 00", GuardedTraits),
        new(CommandKind.ReadCapacity10, "25 00 00 00 00 00 00 00 00 00", NeedsMedium | ConflictsWithReserve6),
        new(CommandKind.Read, "28 1C FF FF FF FF 1F FF FF 00", ReadTraits),
        new(CommandKind.Write, "2A 18 FF FF FF FF 1F FF FF 00", WriteTraits),
        new(CommandKind.WriteAndVerify, "2E 16 FF FF FF FF 1F FF FF 00", WriteTraits),
        new(CommandKind.Verify, "2F 16 FF FF FF FF 1F FF FF 00", ReadTraits),
        new(CommandKind.PreFetch, "34 02 FF FF FF FF 1F FF FF 00", ReadTraits),
        new(CommandKind.SynchronizeCache, "35 06 FF FF FF FF 1F FF FF 00", NeedsMedium | ConflictsWithAnyReservation | ConflictsWithReserve6),
        new(CommandKind.WriteSame, "41 08 FF FF FF FF 1F FF FF 00", WriteTraits),
        new(CommandKind.Unmap, "42 00 00 00 00 00 1F FF FF 00", WriteTraits),
        new(CommandKind.LogSelect, "4C 02 FF FF 00 00 00 FF FF 00", GuardedTraits),
        new(CommandKind.LogSense, "4D 01 FF FF 00 FF FF FF FF 00", ConflictsWithReserve6),
        new(CommandKind.ModeSelect, "55 11 00 00 00 00 00 FF FF 00", GuardedTraits),
        new(CommandKind.Reserve, "56 00 00 00 00 00 00 00 00 00", ConflictsWithReserve6),
        new(CommandKind.Release, "57 00 00 00 00 00 00 00 00 00", None),
        new(CommandKind.ModeSense, "5A 18 FF FF 00 00 00 FF FF 00", GuardedTraits),
        new(CommandKind.PersistentReserveIn, "5E 00 00 00 00 00 00 FF FF 00", ConflictsWithReserve6, 0x00),
        new(CommandKind.PersistentReserveIn, "5E 01 00 00 00 00 00 FF FF 00", ConflictsWithReserve6, 0x01),
        new(CommandKind.PersistentReserveIn, "5E 02 00 00 00 00 00 FF FF 00", ConflictsWithReserve6, 0x02),
        new(CommandKind.PersistentReserveIn, "5E 03 00 00 00 00 00 FF FF 00", ConflictsWithReserve6, 0x03),
        new(CommandKind.PersistentReserveOut, "5F 00 FF 00 00 FF FF FF FF 00", ConflictsWithReserve6, 0x00),
        new(CommandKind.PersistentReserveOut, "5F 01 FF 00 00 FF FF FF FF 00", ConflictsWithReserve6, 0x01),
        new(CommandKind.PersistentReserveOut, "5F 02 FF 00 00 FF FF FF FF 00", ConflictsWithReserve6, 0x02),
        new(CommandKind.PersistentReserveOut, "5F 03 FF 00 00 FF FF FF FF 00", ConflictsWithReserve6, 0x03),
        new(CommandKind.PersistentReserveOut, "5F 04 FF 00 00 FF FF FF FF 00", ConflictsWithReserve6, 0x04),
        new(CommandKind.PersistentReserveOut, "5F 05 FF 00 00 FF FF FF FF 00", ConflictsWithReserve6, 0x05),
        new(CommandKind.PersistentReserveOut, "5F 06 FF 00 00 FF FF FF FF 00", ConflictsWithReserve6, 0x06),
        new(CommandKind.PersistentReserveOut, "5F 07 FF 00 00 FF FF FF FF 00", ConflictsWithReserve6, 0x07),
        new(CommandKind.ExtendedCopy, "83 00 00 00 00 00 00 00 00 00 FF FF FF FF 00 00", GuardedTraits, 0x00),
        new(CommandKind.ReceiveCopyResults, "84 00 FF 00 00 00 00 00 00 00 FF FF FF FF 00 00", GuardedTraits, 0x00),
        new(CommandKind.ReceiveCopyResults, "84 03 00 00 00 00 00 00 00 00 FF FF FF FF 00 00", GuardedTraits, 0x03),
        new(CommandKind.Read, "88 1C FF FF FF FF FF FF FF FF FF FF FF FF 1F 00", ReadTraits),
        new(CommandKind.CompareAndWrite, "89 18 FF FF FF FF FF FF FF FF 00 00 00 FF 1F 00", WriteTraits),
        new(CommandKind.Write, "8A 18 FF FF FF FF FF FF FF FF FF FF FF FF 1F 00", WriteTraits),
        new(CommandKind.OrWrite, "8B 18 FF FF FF FF FF FF FF FF FF FF FF FF 1F 00", WriteTraits),
        new(CommandKind.WriteAndVerify, "8E 16 FF FF FF FF FF FF FF FF FF FF FF FF 1F 00", WriteTraits),
        new(CommandKind.Verify, "8F 16 FF FF FF FF FF FF FF FF FF FF FF FF 1F 00", ReadTraits),
        new(CommandKind.PreFetch, "90 02 FF FF FF FF FF FF FF FF FF FF FF FF 1F 00", ReadTraits),
        new(CommandKind.SynchronizeCache, "91 06 FF FF FF FF FF FF FF FF FF FF FF FF 1F 00", NeedsMedium | ConflictsWithAnyReservation | ConflictsWithReserve6),
        new(CommandKind.WriteSame, "93 09 FF FF FF FF FF FF FF FF FF FF FF FF 1F 00", WriteTraits),
        new(CommandKind.WriteAtomic, "9C 18 FF FF FF FF FF FF FF FF FF FF FF FF 1F 00", WriteTraits),
        new(CommandKind.ReadCapacity16, "9E 10 00 00 00 00 00 00 00 00 FF FF FF FF 00 00", NeedsMedium | ConflictsWithReserve6, 0x10),
        new(CommandKind.GetLbaStatus, "9E 12 FF FF FF FF FF FF FF FF FF FF FF FF 00 00", ReadTraits, 0x12),
        new(CommandKind.ReportLuns, "A0 00 FF 00 00 00 FF FF FF FF 00 00", IgnoresUnitAttention | WorksUnattached),
        new(CommandKind.ReportTargetPortGroups, "A3 EA 00 00 00 00 FF FF FF FF 00 00", ConflictsWithReserve6, 0x0A),
        new(CommandKind.ReportSupportedOperationCodes, "A3 0C 87 FF FF FF FF FF FF FF 00 00", GuardedTraits, 0x0C),
        new(CommandKind.ReportSupportedTaskManagementFunctions, "A3 0D 80 00 00 00 FF FF FF FF 00 00", GuardedTraits, 0x0D),
        new(CommandKind.Read, "A8 1C FF FF FF FF FF FF FF FF 1F 00", ReadTraits),
        new(CommandKind.Write, "AA 18 FF FF FF FF FF FF FF FF 1F 00", WriteTraits),
        new(CommandKind.WriteAndVerify, "AE 16 FF FF FF FF FF FF FF FF 1F 00", WriteTraits),
        new(CommandKind.Verify, "AF 16 FF FF FF FF FF FF FF FF 1F 00", ReadTraits),
    ];

    private static readonly CommandDescriptor Unknown = new(CommandKind.Unknown, "00", CommandTraits.None);

    // By operation code; for one with service actions: the first of them, and the search goes on in All.
    private static readonly CommandDescriptor[] ByOperationCode = BuildIndex();

    /// <summary>The command of a CDB; <see cref="CommandKind.Unknown"/> if there is none.</summary>
    public static CommandDescriptor Find(byte operationCode, byte serviceActionByte)
    {
        var command = ByOperationCode[operationCode];
        return command.ServiceAction < 0 ? command : FindServiceAction(operationCode, serviceActionByte & 0x1F);
    }

    /// <summary>Whether an operation code is known and has service actions.</summary>
    public static bool HasServiceActions(byte operationCode) => ByOperationCode[operationCode].ServiceAction >= 0;

    /// <summary>Whether an operation code is known.</summary>
    public static bool IsKnown(byte operationCode) => ByOperationCode[operationCode].Kind != CommandKind.Unknown;

    public static CommandDescriptor FindServiceAction(byte operationCode, int serviceAction)
    {
        foreach (var command in All)
        {
            if (command.OperationCode == operationCode && command.ServiceAction == serviceAction)
            {
                return command;
            }
        }

        return Unknown;
    }

    private static CommandDescriptor[] BuildIndex()
    {
        var index = new CommandDescriptor[256];
        Array.Fill(index, Unknown);
        for (var i = All.Length - 1; i >= 0; i--)
        {
            index[All[i].OperationCode] = All[i];
        }

        return index;
    }
}
