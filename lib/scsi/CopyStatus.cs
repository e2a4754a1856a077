namespace Vhost.Scsi;

/// <summary>How far a copy operation is: what RECEIVE COPY STATUS (LID1) tells (SPC-4, section 6.24). One reactor writes, any thread reads.</summary>
internal sealed class CopyStatus(byte listId)
{
    private int _segmentsDone;
    private long _bytesDone;
    private int _result;

    public byte ListId => listId;

    public int SegmentsDone => Volatile.Read(ref _segmentsDone);

    public long BytesDone => Volatile.Read(ref _bytesDone);

    public bool IsUnderWay => Volatile.Read(ref _result) == 0;

    /// <summary>The COPY OPERATION STATUS field: in progress, completed without errors, completed with errors.</summary>
    public byte Code => (byte)Volatile.Read(ref _result);

    public void AddBytes(long count) => Volatile.Write(ref _bytesDone, _bytesDone + count);

    public void AddSegment() => Volatile.Write(ref _segmentsDone, _segmentsDone + 1);

    public void End(bool isGood) => Volatile.Write(ref _result, isGood ? 1 : 2);
}
