using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// One SCSI command under way. It lives in native memory of the caller, who fills in the CDB and the buffers, hands it to a
/// <see cref="DeviceServer"/>, and submits its block request as often as the device server asks for it. Unmanaged, so that no command costs an
/// allocation; belongs to one reactor.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct ScsiTask
{
    /// <summary>
    /// The block request to submit. The device server sets all of it except <see cref="BlockRequest.SubmitterContext"/>, which is the caller's, and
    /// <see cref="BlockRequest.HostState"/>, which the caller zeroes once.
    /// </summary>
    public BlockRequest Block;

    /// <summary>The Data-Out buffer: what the initiator sends. The device server may shorten the list in place.</summary>
    public IoSegment* DataOut;

    /// <summary>The Data-In buffer: room for what the initiator gets. The device server may shorten the list in place.</summary>
    public IoSegment* DataIn;

    /// <summary>Sum of the lengths of <see cref="DataOut"/>, in bytes.</summary>
    public ulong DataOutLengthBytes;

    /// <summary>Sum of the lengths of <see cref="DataIn"/>, in bytes.</summary>
    public ulong DataInLengthBytes;

    /// <summary>Number of segments in <see cref="DataOut"/>.</summary>
    public int DataOutCount;

    /// <summary>Number of segments in <see cref="DataIn"/>.</summary>
    public int DataInCount;

    /// <summary>The CDB; bytes past <see cref="CdbLengthBytes"/> are zero.</summary>
    public CdbBytes Cdb;

    /// <summary>Length of the CDB as the transport delivered it: padding included, at most 32.</summary>
    public int CdbLengthBytes;

    /// <summary>Set by the caller before <see cref="DeviceServer.Continue"/> if a task management function aborts the task.</summary>
    public bool IsAborted;

    /// <summary>Result: how the command ended for the transport.</summary>
    public ServiceResponse Response;

    /// <summary>Result: the SCSI status, if <see cref="Response"/> is <see cref="ServiceResponse.Complete"/>.</summary>
    public ScsiStatus Status;

    /// <summary>Result: length of <see cref="Sense"/>; 0 unless the status is CHECK CONDITION.</summary>
    public byte SenseLengthBytes;

    /// <summary>The format that sense data of this command take.</summary>
    internal bool UsesDescriptorSense;

    /// <summary>What <see cref="DeviceServer.Continue"/> does next.</summary>
    internal Continuation Continuation;

    /// <summary>What the command counts as.</summary>
    internal CommandClass Class;

    /// <summary>Result: bytes of both buffers that were used. The residual is the buffers' length less this.</summary>
    public ulong TransferredBytes;

    /// <summary>Result: the sense data.</summary>
    public SenseBytes Sense;

    /// <summary>Memory of a command with several steps, or null.</summary>
    internal byte* Scratch;

    /// <summary>Of a command with several steps: where it stands.</summary>
    internal ulong Cursor;

    /// <summary>Of a command with several steps: what remains.</summary>
    internal ulong Remaining;

    /// <summary>When the command was received.</summary>
    internal long StartedAt;

    /// <summary>Whether the task's block requests may be another logical unit's (<see cref="ScsiAction.SubmitElsewhere"/>).</summary>
    public readonly bool IsCopy => Continuation == Continuation.Copy;

    /// <summary>The CDB's bytes.</summary>
    /// <param name="task">A task in native memory.</param>
    // SAFETY: the task lies in native memory of the caller, so its address is stable; the span has the inline array's length.
    public static Span<byte> CdbOf(ScsiTask* task) => new(&task->Cdb, CdbBytes.LengthBytes);

    /// <summary>The sense data.</summary>
    /// <param name="task">A task that is done.</param>
    // SAFETY: as above; the length is at most that of the inline array.
    public static ReadOnlySpan<byte> SenseOf(ScsiTask* task) => new(&task->Sense, task->SenseLengthBytes);
}
