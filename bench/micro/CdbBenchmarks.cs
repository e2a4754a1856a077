using System.Buffers.Binary;
using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using Vhost.Abstractions;
using Vhost.Scsi;
using Vhost.Testing;

namespace Vhost.Bench.Micro;

/// <summary>What a CDB costs up to the block request that is to be submitted.</summary>
// SAFETY: the task and its buffer are native memory of the lengths that it states, from the set-up to the clean-up.
public unsafe class CdbBenchmarks : MicroBenchmark
{
    private const int BlockBytes = 512;
    private const int BlocksPerRequest = 8;
    private const int DataBytes = BlockBytes * BlocksPerRequest;

    private MemoryBdevPort _port = null!;
    private DeviceServer _server = null!;
    private ScsiTarget _target = null!;
    private ItlNexus _nexus = null!;
    private ScsiTask* _task;
    private IoSegment* _segment;
    private byte* _data;

    /// <summary>Sum of the blocks that the CDBs name.</summary>
    public override long Expected => BlocksPerRequest * (OperationCount * (OperationCount - 1) / 2);

    /// <summary>Makes a logical unit with nothing pending.</summary>
    [GlobalSetup]
    public void SetUp()
    {
        _port = new MemoryBdevPort("Disk0", BlockBytes);
        _server = new DeviceServer();
        _target = new ScsiTarget(new LogicalUnitRegistry(), "micro:0", "micro", "micro");
        _nexus = _target.Attach(0, _port, null);
        _data = (byte*)NativeMemory.AlignedAlloc(DataBytes, 4096);
        _segment = (IoSegment*)NativeMemory.Alloc((nuint)sizeof(IoSegment));
        *_segment = new IoSegment(_data, DataBytes);
        _task = (ScsiTask*)NativeMemory.AllocZeroed((nuint)sizeof(ScsiTask));
        _task->CdbLengthBytes = CdbBytes.LengthBytes;

        // TEST UNIT READY takes the unit attention of a new nexus.
        if (_server.Begin(_nexus, _task) != ScsiAction.Done || _task->Status != ScsiStatus.CheckCondition
            || _server.Begin(_nexus, _task) != ScsiAction.Done || _task->Status != ScsiStatus.Good)
        {
            throw new InvalidOperationException("the logical unit is not ready");
        }
    }

    /// <summary>Frees it all.</summary>
    [GlobalCleanup]
    public void CleanUp()
    {
        NativeMemory.Free(_task);
        NativeMemory.Free(_segment);
        NativeMemory.AlignedFree(_data);
        _server.Dispose();
        _target.Dispose();
        _port.Dispose();
    }

    /// <summary>READ(10): the command of a CDB, and its range.</summary>
    [Benchmark(OperationsPerInvoke = OperationCount)]
    public long DecodeRead10()
    {
        ScsiTask.CdbOf(_task)[0] = 0x28;
        long sum = 0;
        for (var i = 0; i < OperationCount; i++)
        {
            PutRange10(i);
            var command = CommandTable.Find(_task->Cdb[0], _task->Cdb[1]);
            var range = BlockRange.Decode(ScsiTask.CdbOf(_task), command.LengthBytes);
            sum += range.Count == BlocksPerRequest ? (long)range.Lba : -1;
        }

        return sum;
    }

    /// <summary>READ(10): to the block request.</summary>
    [Benchmark(OperationsPerInvoke = OperationCount)]
    public long BeginRead10()
    {
        _task->DataOutCount = 0;
        _task->DataOutLengthBytes = 0;
        _task->DataIn = _segment;
        _task->DataInCount = 1;
        _task->DataInLengthBytes = DataBytes;
        return Begin10(0x28, BlockOperation.Read);
    }

    /// <summary>WRITE(10): to the block request.</summary>
    [Benchmark(OperationsPerInvoke = OperationCount)]
    public long BeginWrite10()
    {
        _task->DataInCount = 0;
        _task->DataInLengthBytes = 0;
        _task->DataOut = _segment;
        _task->DataOutCount = 1;
        _task->DataOutLengthBytes = DataBytes;
        return Begin10(0x2A, BlockOperation.Write);
    }

    private long Begin10(byte operationCode, BlockOperation operation)
    {
        ScsiTask.CdbOf(_task)[0] = operationCode;
        long sum = 0;
        for (var i = 0; i < OperationCount; i++)
        {
            PutRange10(i);
            var isRight = _server.Begin(_nexus, _task) == ScsiAction.Submit && _task->Block.Operation == operation && _task->Block.BlockCount == BlocksPerRequest;
            sum += isRight ? (long)_task->Block.StartBlock : -1;
        }

        return sum;
    }

    private void PutRange10(int index)
    {
        var cdb = ScsiTask.CdbOf(_task);
        BinaryPrimitives.WriteUInt32BigEndian(cdb[2..], (uint)(index * BlocksPerRequest));
        BinaryPrimitives.WriteUInt16BigEndian(cdb[7..], BlocksPerRequest);
    }
}
