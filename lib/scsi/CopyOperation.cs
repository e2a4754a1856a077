using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// An EXTENDED COPY under way: segment by segment, each in pieces that are read into scratch memory and then written, one block request at a time. One
/// reactor's. What initiators may not do themselves is not done for them: reservations and write protection are looked at before each piece.
/// </summary>
internal sealed unsafe class CopyOperation(CopyStatus? status, CopyDescriptor[] descriptors, CopySegment[] segments)
{
    private int _index = -1;
    private CopySegment _segment;
    private CopyDescriptor _source;
    private CopyDescriptor _destination;
    private ulong _lengthBytes;
    private ulong _doneBytes;
    private ulong _pieceBytes;
    private bool _isBackward;
    private bool _isWriting;

    /// <summary>The unit that the block request goes to.</summary>
    public ItlNexus Unit => _isWriting ? _destination.Nexus! : _source.Nexus!;

    /// <summary>Goes on. The block request, if there was one, is completed.</summary>
    public ScsiAction Next(ScsiTask* task)
    {
        if (_index >= 0 && task->Block.Status != BlockStatus.Success)
        {
            return OnFailure(task);
        }

        if (task->IsAborted)
        {
            return TaskResult.Respond(task, ServiceResponse.Aborted);
        }

        if (_isWriting)
        {
            _doneBytes += _pieceBytes;
            status?.AddBytes((long)_pieceBytes);
        }
        else if (_pieceBytes > 0)
        {
            return Write(task);
        }

        while (_doneBytes == _lengthBytes)
        {
            if (_index >= 0)
            {
                status?.AddSegment();
            }

            if (++_index == segments.Length)
            {
                return TaskResult.Good(task, task->TransferredBytes);
            }

            if (!BeginSegment(task))
            {
                return ScsiAction.Done;
            }
        }

        return Read(task);
    }

    /// <summary>The command is done, one way or another.</summary>
    public void End(bool isGood) => status?.End(isGood);

    private bool BeginSegment(ScsiTask* task)
    {
        _segment = segments[_index];
        _source = descriptors[_segment.Source];
        _destination = descriptors[_segment.Destination];
        _doneBytes = _lengthBytes = _pieceBytes = 0;
        _isWriting = false;
        if (!TryGetState(_source, task, out var from) || !TryGetState(_destination, task, out var to))
        {
            return false;
        }

        if (_source.BlockSizeBytes != from.BlockSizeBytes || _destination.BlockSizeBytes != to.BlockSizeBytes)
        {
            Fail(task, AdditionalSense.InvalidFieldInParameterList, SenseKeySpecific.ParameterList(
                (_source.BlockSizeBytes != from.BlockSizeBytes ? _source : _destination).Position + CopyParameters.BlockSizeField));
            return false;
        }

        var length = (ulong)_segment.BlockCount << (_segment.CountsDestinationBlocks ? to.BlockShift : from.BlockShift);
        if (length > CopyParameters.MaxSegmentBytes)
        {
            Fail(task, AdditionalSense.InvalidFieldInParameterList, SenseKeySpecific.ParameterList(_segment.Position + 10));
            return false;
        }

        if (((length >> from.BlockShift) << from.BlockShift) != length || ((length >> to.BlockShift) << to.BlockShift) != length)
        {
            Fail(task, AdditionalSense.UnexpectedInexactSegment, SenseKeySpecific.ParameterList(_segment.Position + 10));
            return false;
        }

        var isSourceOutside = !new BlockRange(_segment.SourceLba, length >> from.BlockShift).FitsIn(from.BlockCount);
        if (isSourceOutside || !new BlockRange(_segment.DestinationLba, length >> to.BlockShift).FitsIn(to.BlockCount))
        {
            Fail(task, AdditionalSense.LbaOutOfRange, SenseKeySpecific.ParameterList(_segment.Position + (isSourceOutside ? 12 : 20)));
            return false;
        }

        // Ranges that overlap are copied as if the source were read as a whole first.
        _isBackward = _source.Nexus!.Unit == _destination.Nexus!.Unit
            && _segment.DestinationLba > _segment.SourceLba
            && _segment.DestinationLba - _segment.SourceLba < length >> from.BlockShift;
        _lengthBytes = length;
        return true;
    }

    private ScsiAction Read(ScsiTask* task)
    {
        _isWriting = false;
        _pieceBytes = Math.Min(_lengthBytes - _doneBytes, ScratchPool.DataLengthBytes);
        if (!TryGetState(_source, task, out var state))
        {
            return ScsiAction.Done;
        }

        if ((_source.Nexus!.Conflicts & (Conflicts.ExclusiveAccess | Conflicts.Reserve6)) != 0)
        {
            return FailUnit(task, _source);
        }

        return Submit(task, BlockOperation.Read, BlockRequestFlags.None, _segment.SourceLba, state);
    }

    private ScsiAction Write(ScsiTask* task)
    {
        _isWriting = true;
        if (!TryGetState(_destination, task, out var state))
        {
            return ScsiAction.Done;
        }

        if ((_destination.Nexus!.Conflicts & (Conflicts.AnyReservation | Conflicts.Reserve6)) != 0 || !state.AllowsWrites)
        {
            return FailUnit(task, _destination);
        }

        return Submit(task, BlockOperation.Write, state.WriteFlags, _segment.DestinationLba, state);
    }

    private ScsiAction Submit(ScsiTask* task, BlockOperation operation, BlockRequestFlags flags, ulong firstLba, LogicalUnitState state)
    {
        var offset = _isBackward ? _lengthBytes - _doneBytes - _pieceBytes : _doneBytes;
        Transfers.SetRequest(task, operation, flags, firstLba + (offset >> state.BlockShift), _pieceBytes >> state.BlockShift);
        Transfers.UseScratch(task, _pieceBytes);
        return ScsiAction.SubmitElsewhere;
    }

    private bool TryGetState(CopyDescriptor descriptor, ScsiTask* task, out LogicalUnitState state)
    {
        state = descriptor.Nexus?.Unit.State!;
        // Another disk may have come to the place of the one that was named while the other end was read.
        if (state is null || state.IsStopped || state.Identity.Naa != descriptor.Naa)
        {
            Fail(task, AdditionalSense.CopyTargetDeviceNotReachable, SenseKeySpecific.ParameterList(descriptor.Position));
            return false;
        }

        return true;
    }

    private ScsiAction OnFailure(ScsiTask* task) => task->Block.Status switch
    {
        BlockStatus.Aborted when task->IsAborted => TaskResult.Respond(task, ServiceResponse.Aborted),
        BlockStatus.NoDevice => Fail(task, AdditionalSense.CopyTargetDeviceNotReachable, SenseKeySpecific.ParameterList((_isWriting ? _destination : _source).Position)),
        _ => FailUnit(task, _isWriting ? _destination : _source),
    };

    private ScsiAction FailUnit(ScsiTask* task, CopyDescriptor descriptor)
        => Fail(task, AdditionalSense.ThirdPartyDeviceFailure, SenseKeySpecific.ParameterList(descriptor.Position));

    // SPC-4, section 5.17.7.4: the segment's number, and what of it was not written if some was. Backwards nothing counts from its beginning.
    private ScsiAction Fail(ScsiTask* task, AdditionalSense additional, SenseKeySpecific where)
    {
        ulong? residual = null;
        if (_doneBytes > 0 && _destination.Nexus?.Unit.State is { } state)
        {
            residual = (_lengthBytes - (_isBackward ? 0 : _doneBytes)) >> state.BlockShift;
        }

        var transferred = task->TransferredBytes;
        TaskResult.Check(task, SenseKey.CopyAborted, additional, residual, where, commandSpecific: (ulong)_index);
        task->TransferredBytes = transferred;
        return ScsiAction.Done;
    }
}
