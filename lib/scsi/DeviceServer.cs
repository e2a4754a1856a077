using System.Runtime.Intrinsics;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// Executes SCSI commands (SAM-5, SPC-4, SBC-3). It parses a CDB and either answers from the state of the logical unit or builds a block request
/// that the caller submits, so that the caller decides on batches. One instance belongs to one reactor and serves any number of nexuses; READ and
/// WRITE allocate nothing and take no lock.
/// </summary>
/// <param name="copyScope">The targets among which EXTENDED COPY copies; null: within one target only.</param>
// SAFETY (all unsafe code here): tasks lie in native memory of the caller and stay there until they are done; their buffers are valid memory of the
// lengths that the task states.
public sealed unsafe class DeviceServer(ICopyScope? copyScope = null) : IDisposable
{
    // Of VERIFY (10), (12) and (16), less the group.
    private const byte VerifyOperationCode = 0x0F;

    // A nexus has its place by its number; those that share one are found in the dictionary.
    private const int RecentCount = 16;

    private readonly (ItlNexus? Nexus, CommandCounters? Counters)[] _recent = new (ItlNexus?, CommandCounters?)[RecentCount];
    private readonly Dictionary<ItlNexus, CommandCounters> _counters = [];
    private readonly byte[] _buffer = new byte[8192];

    // By a number that the task has; allocated, as a copy takes longer than that.
    private readonly Dictionary<ulong, CopyOperation> _copies = [];
    private ulong _lastCopy;
    private CommandWait? _wait;

    /// <summary>A <see cref="System.Diagnostics.Stopwatch"/> timestamp for what begins or ends from now on. The caller sets it once a batch.</summary>
    public long Now { get; set; }

    internal ICopyScope? CopyScope => copyScope;

    internal ScratchPool Scratch { get; } = new();

    /// <summary>Starts a command.</summary>
    /// <param name="nexus">The logical unit that it is for, as its initiator sees it.</param>
    /// <param name="task">CDB and buffers. It must not change until it is done, except by <see cref="ScsiTask.IsAborted"/>.</param>
    /// <returns>What to do next.</returns>
    public ScsiAction Begin(ItlNexus nexus, ScsiTask* task)
    {
        Prepare(task);
        var state = nexus.Unit.State;
        var command = CommandTable.Find(task->Cdb[0], task->Cdb[1]);
        var counters = CountersOf(nexus);
        if (command.Class != CommandClass.None)
        {
            task->Class = command.Class | ((task->Cdb[1] & Transfers.ForceUnitAccessBit) != 0 && command.Kind is CommandKind.Read or CommandKind.Write ? CommandClass.ForceUnitAccess : CommandClass.None);
            counters.OnReceived(task->Class);
        }

        var action = BeginFast(nexus, state, command, task);
        if (action is ScsiAction.Submit or ScsiAction.SubmitElsewhere)
        {
            task->StartedAt = Now;
            counters.OnStarted(Now);
        }

        return action;
    }

    /// <summary>
    /// Starts a command that another device server had, which ended before it answered. One that cannot be carried out twice is answered with ABORTED COMMAND,
    /// whatever else there is to tell: whether it was carried out is for the initiator to find out.
    /// </summary>
    /// <param name="nexus">As for <see cref="Begin"/>.</param>
    /// <param name="task">As for <see cref="Begin"/>.</param>
    /// <returns>What to do next.</returns>
    public ScsiAction BeginAgain(ItlNexus nexus, ScsiTask* task)
    {
        if (CommandTable.Find(task->Cdb[0], task->Cdb[1]).Kind is not (CommandKind.CompareAndWrite or CommandKind.ExtendedCopy or CommandKind.PersistentReserveOut))
        {
            return Begin(nexus, task);
        }

        Prepare(task);
        task->UsesDescriptorSense = nexus.Unit.State?.Mode.UsesDescriptorSense ?? false;
        return TaskResult.Check(task, SenseKey.AbortedCommand, AdditionalSense.CommandsClearedByDeviceServer);
    }

    /// <summary>What the command that was just begun waits for. Once after each <see cref="ScsiAction.Wait"/>.</summary>
    public CommandWait TakeWait()
        => Interlocked.Exchange(ref _wait, null) ?? throw new InvalidOperationException("no command waits");

    /// <summary>The logical unit that a task's block request is for. After <see cref="ScsiAction.SubmitElsewhere"/>.</summary>
    /// <param name="task">The task.</param>
    public ItlNexus UnitOf(ScsiTask* task) => _copies[task->Cursor].Unit;

    /// <summary>Ends a command that waited. Afterwards it is done.</summary>
    /// <param name="wait">What it waited for, and which is done.</param>
    /// <param name="task">The task.</param>
    public static void EndWait(CommandWait wait, ScsiTask* task)
    {
        ArgumentNullException.ThrowIfNull(wait);
        if (wait.HasFailed)
        {
            TaskResult.Check(task, SenseKey.HardwareError, AdditionalSense.InternalTargetFailure);
        }
    }

    /// <summary>Starts a command for a logical unit number that no unit has (SPC-4, section 4.2; SAM-5, section 4.12).</summary>
    /// <param name="target">The target.</param>
    /// <param name="task">CDB and buffers.</param>
    /// <returns>Always <see cref="ScsiAction.Done"/>.</returns>
    public ScsiAction BeginUnattached(ScsiTarget target, ScsiTask* task)
    {
        Prepare(task);
        var command = CommandTable.Find(task->Cdb[0], task->Cdb[1]);
        return Finish(task, UnattachedUnit.Execute(target, command, task, _buffer));
    }

    /// <summary>Starts a command for the REPORT LUNS well-known logical unit (SPC-4, section 8.2).</summary>
    /// <param name="target">The target.</param>
    /// <param name="task">CDB and buffers.</param>
    /// <returns>Always <see cref="ScsiAction.Done"/>.</returns>
    public ScsiAction BeginReportLunsUnit(ScsiTarget target, ScsiTask* task)
    {
        Prepare(task);
        var command = CommandTable.Find(task->Cdb[0], task->Cdb[1]);
        return Finish(task, WellKnownUnit.Execute(target, command, task, _buffer));
    }

    /// <summary>Goes on with a task whose block request is completed.</summary>
    /// <param name="nexus">The nexus that it was begun for.</param>
    /// <param name="task">The task, with the request's status.</param>
    /// <returns>What to do next.</returns>
    public ScsiAction Continue(ItlNexus nexus, ScsiTask* task)
    {
        var action = task->Continuation == Continuation.None && task->Block.Status == BlockStatus.Success && task->Scratch == null
            ? ScsiAction.Done
            : Finish(task, ContinueOther(nexus, task));
        if (action == ScsiAction.Done)
        {
            var blocks = nexus.Unit.State is { } state ? task->TransferredBytes >> state.BlockShift : 0;
            CountersOf(nexus).OnDone(task->Class, blocks, Math.Max(0, Now - task->StartedAt), Now);
        }

        return action;
    }

    /// <summary>
    /// Gives a task up whose block request came back after the transport let go of the initiator's memory: frees what the task holds and touches none of
    /// its buffers.
    /// </summary>
    /// <param name="task">A task whose block request is completed.</param>
    public void Abandon(ScsiTask* task) => Finish(task, TaskResult.Respond(task, ServiceResponse.Aborted));

    /// <summary>The nexus is not used any more; what was counted of it stays with its unit. Nothing of it is under way.</summary>
    /// <param name="nexus">The nexus.</param>
    public void Forget(ItlNexus nexus)
    {
        ArgumentNullException.ThrowIfNull(nexus);
        if (_counters.Remove(nexus, out var counters))
        {
            counters.Close(Now);
            ref var recent = ref _recent[nexus.Number % RecentCount];
            recent = ReferenceEquals(recent.Nexus, nexus) ? default : recent;
        }
    }

    /// <summary>Frees what is not under way; memory of a task that is still under way is freed when that task is done.</summary>
    public void Dispose()
    {
        foreach (var counters in _counters.Values)
        {
            counters.Close(Now);
        }

        _counters.Clear();
        Array.Clear(_recent);
        Scratch.Dispose();
    }

    private static void Prepare(ScsiTask* task)
    {
        task->IsAborted = false;
        task->Response = ServiceResponse.Complete;
        task->Status = ScsiStatus.Good;
        task->SenseLengthBytes = 0;
        task->UsesDescriptorSense = false;
        task->Continuation = Continuation.None;
        task->Class = CommandClass.None;
        task->TransferredBytes = 0;
        task->Scratch = null;
    }

    private CommandCounters CountersOf(ItlNexus nexus)
    {
        ref var recent = ref _recent[nexus.Number % RecentCount];
        return ReferenceEquals(recent.Nexus, nexus) ? recent.Counters! : FindCounters(nexus, ref recent);
    }

    private CommandCounters FindCounters(ItlNexus nexus, ref (ItlNexus? Nexus, CommandCounters? Counters) recent)
    {
        if (!_counters.TryGetValue(nexus, out var counters))
        {
            counters = nexus.Unit.Log.AddCounters();
            _counters.Add(nexus, counters);
        }

        recent = (nexus, counters);
        return counters;
    }

    private static bool HasOnlyAllowedBits(CommandDescriptor command, ScsiTask* task)
        => (Vector128.Load((byte*)&task->Cdb) & command.ForbiddenBits) == Vector128<byte>.Zero;

    private ScsiAction BeginFast(ItlNexus nexus, LogicalUnitState? state, CommandDescriptor command, ScsiTask* task)
    {
        if (state is not null && nexus.Gate == 0 && !state.IsStopped && HasOnlyAllowedBits(command, task) && task->CdbLengthBytes >= command.LengthBytes)
        {
            task->UsesDescriptorSense = state.Mode.UsesDescriptorSense;
            if (command.Kind == CommandKind.Read)
            {
                return BeginRead(state, command, task);
            }

            if (command.Kind == CommandKind.Write && state.AllowsWrites)
            {
                return BeginWrite(state, command, task);
            }
        }

        return Finish(task, BeginOther(nexus, state, command, task));
    }

    private static ScsiAction BeginRead(LogicalUnitState state, CommandDescriptor command, ScsiTask* task)
    {
        var cdb = ScsiTask.CdbOf(task);
        var range = BlockRange.Decode(cdb, command.LengthBytes);
        if (!Transfers.CheckRange(state, command, task, range) || range.Count == 0)
        {
            return ScsiAction.Done;
        }

        if (!Transfers.UseDataIn(task, range.Count << state.BlockShift))
        {
            return ScsiAction.Done;
        }

        if (command.LengthBytes != 6 && (cdb[1] & Transfers.ForceUnitAccessBit) != 0 && state.Info.HasVolatileWriteCache && state.CanFlush)
        {
            // What the cache holds and the medium does not is written to the medium first (SBC-3, section 5.11).
            task->Cursor = range.Lba;
            task->Remaining = range.Count;
            return Transfers.Flush(task, Continuation.ReadAfterFlush);
        }

        Transfers.SetRequest(task, BlockOperation.Read, BlockRequestFlags.None, range.Lba, range.Count);
        task->Block.Segments = task->DataIn;
        task->Block.SegmentCount = task->DataInCount;
        return ScsiAction.Submit;
    }

    private static ScsiAction BeginWrite(LogicalUnitState state, CommandDescriptor command, ScsiTask* task)
    {
        var range = BlockRange.Decode(ScsiTask.CdbOf(task), command.LengthBytes);
        if (!Transfers.CheckRange(state, command, task, range) || range.Count == 0)
        {
            return ScsiAction.Done;
        }

        if (!Transfers.UseDataOut(task, range.Count << state.BlockShift))
        {
            return ScsiAction.Done;
        }

        var flags = command.LengthBytes == 6 ? state.WriteFlags : Transfers.WriteFlags(state, task);
        return Transfers.SubmitDataOut(task, BlockOperation.Write, flags, range);
    }

    private ScsiAction BeginOther(ItlNexus nexus, LogicalUnitState? state, CommandDescriptor command, ScsiTask* task)
    {
        if (state is null)
        {
            return UnattachedUnit.Execute(nexus.Target, command, task, _buffer);
        }

        task->UsesDescriptorSense = state.Mode.UsesDescriptorSense;
        if (!CommandChecks.Pass(nexus, state, command, task))
        {
            return ScsiAction.Done;
        }

        switch (command.Kind)
        {
            case CommandKind.Read:
                return BeginRead(state, command, task);
            case CommandKind.Write:
                return BeginWrite(state, command, task);
            case CommandKind.TestUnitReady:
                return TaskResult.Good(task);
            case CommandKind.RequestSense:
                return RequestSense.Execute(nexus, state, task);
            case CommandKind.Inquiry:
                return Inquiry.Execute(nexus, state, task, _buffer);
            case CommandKind.ReportLuns:
                return ReportLuns.Execute(nexus.Target, task, _buffer);
            case CommandKind.ReadCapacity10:
                return ReadCapacity.Execute10(state, task);
            case CommandKind.ReadCapacity16:
                return ReadCapacity.Execute16(state, task);
            case CommandKind.GetLbaStatus:
                return GetLbaStatus.Execute(state, task);
            case CommandKind.SynchronizeCache:
                return SynchronizeCache.Begin(state, command, task);
            case CommandKind.PreFetch:
                return Transfers.PreFetch(state, command, task);
            case CommandKind.Unmap:
                return Unmap.Begin(this, state, task);
            case CommandKind.WriteSame:
                return WriteSame.Begin(this, state, command, task);
            case CommandKind.Verify:
                return Verify.Begin(this, state, command, task);
            case CommandKind.WriteAndVerify:
                return Verify.BeginWriteAndVerify(state, command, task);
            case CommandKind.CompareAndWrite:
                return CompareAndWrite.Begin(state, task);
            case CommandKind.OrWrite:
                return OrWrite.Begin(this, state, command, task);
            case CommandKind.WriteAtomic:
                return WriteAtomic.Begin(state, task);
            case CommandKind.ModeSense:
                return ModeSense.Execute(state, command, task, _buffer);
            case CommandKind.ModeSelect:
                return ModeSelect.Begin(nexus, state, command, task, _buffer);
            case CommandKind.LogSelect:
                return LogSelect.Execute(nexus, state, task);
            case CommandKind.LogSense:
                return LogSense.Execute(nexus, state, task, _buffer);
            case CommandKind.StartStopUnit:
                return StartStopUnit.Begin(nexus, state, task);
            case CommandKind.SendDiagnostic:
                return SendDiagnostic.Begin(this, state, task);
            case CommandKind.ReportSupportedOperationCodes:
                return SupportedOperations.Execute(state, task, _buffer);
            case CommandKind.ReportSupportedTaskManagementFunctions:
                return SupportedOperations.ExecuteTaskManagement(task);
            case CommandKind.ReportTargetPortGroups:
                return TargetPortGroups.Execute(nexus, task, _buffer);
            case CommandKind.ExtendedCopy:
                return ExtendedCopy.Begin(this, nexus, task, _buffer);
            case CommandKind.ReceiveCopyResults:
                return ExtendedCopy.Receive(nexus, task);
            case CommandKind.Reserve:
                return nexus.Unit.Reservations.Reserve6(nexus, task);
            case CommandKind.Release:
                return nexus.Unit.Reservations.Release6(nexus, task);
            case CommandKind.PersistentReserveIn:
                return PersistentReserveIn.Execute(nexus, task, _buffer);
            case CommandKind.PersistentReserveOut:
                _wait = PersistentReserveOut.Execute(nexus, task, _buffer);
                return _wait is null ? ScsiAction.Done : ScsiAction.Wait;
            default:
                return TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode);
        }
    }

    internal ScsiAction BeginCopy(CopyOperation copy, ScsiTask* task)
    {
        task->Cursor = ++_lastCopy;
        _copies.Add(task->Cursor, copy);
        return copy.Next(task);
    }

    private ScsiAction ContinueOther(ItlNexus nexus, ScsiTask* task)
    {
        if (task->Continuation == Continuation.Copy)
        {
            return _copies[task->Cursor].Next(task);
        }

        var state = nexus.Unit.State;
        if (task->Block.Status == BlockStatus.IoError)
        {
            nexus.Unit.Log.CountError(task->Block.Operation, (task->Cdb[0] & 0x1F) == VerifyOperationCode);
        }

        if (task->Continuation == Continuation.SelfTest)
        {
            return SendDiagnostic.Next(nexus, state, task);
        }

        if (task->Continuation == Continuation.OrWriteWrite && task->Block.Status == BlockStatus.Miscompare && !task->IsAborted && state is not null)
        {
            return OrWrite.Retry(state, task);
        }

        if (task->Block.Status != BlockStatus.Success)
        {
            if (task->Continuation == Continuation.ModeSelect)
            {
                ModeSelect.Undo(nexus);
            }

            return TaskResult.BlockFailure(task);
        }

        if (task->Continuation is Continuation.None or Continuation.ModeSelect)
        {
            return ScsiAction.Done;
        }

        if (task->IsAborted)
        {
            return TaskResult.Respond(task, ServiceResponse.Aborted);
        }

        if (state is null)
        {
            return TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.LogicalUnitNotSupported);
        }

        return task->Continuation switch
        {
            Continuation.ReadAfterFlush => Transfers.ReadAfterFlush(task),
            Continuation.Unmap => Unmap.Next(task),
            Continuation.WriteSame => WriteSame.Next(state, task),
            Continuation.VerifyMedium => Verify.NextMedium(state, task),
            Continuation.VerifySame => Verify.NextSame(state, task),
            Continuation.VerifyWritten => Verify.Written(this, state, task),
            Continuation.OrWriteRead => OrWrite.Write(state, task),
            Continuation.OrWriteWrite => OrWrite.Next(state, task),
            Continuation.Stop => StartStopUnit.Stop(nexus, task),
            _ => TaskResult.Check(task, SenseKey.HardwareError, AdditionalSense.InternalTargetFailure),
        };
    }

    private ScsiAction Finish(ScsiTask* task, ScsiAction action)
    {
        if (action == ScsiAction.Done && task->Scratch != null)
        {
            if (task->Continuation == Continuation.Copy && _copies.Remove(task->Cursor, out var copy))
            {
                copy.End(task->Response == ServiceResponse.Complete && task->Status == ScsiStatus.Good);
            }

            Scratch.Return(task->Scratch);
            task->Scratch = null;
        }

        return action;
    }
}
