using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using Vhost.Plugins.Malloc;

namespace Vhost.Bench.Micro;

/// <summary>Copies out of random places of a large disk in memory into few buffers, by size: the runtime's, and malloc's with and without knowing the next.</summary>
// SAFETY: places are multiples of 512 with a whole copy's length behind them in the source; the destination has room for each slot.
public unsafe class CopyBenchmarks : MicroBenchmark
{
    private const int PlaceCount = 4096;

    private readonly nuint[] _places = new nuint[PlaceCount];
    private nuint _sourceBytes = 256 << 20;
    private byte* _source;
    private byte* _destination;
    private int _at;

    /// <summary>Bytes of one copy.</summary>
    [Params(512, 4096, 16 << 10, 128 << 10)]
    public int LengthBytes { get; set; }

    /// <inheritdoc/>
    public override long Expected => OperationCount;

    /// <inheritdoc/>
    public override void UseTinyInputs() => _sourceBytes = 1 << 20;

    /// <summary>Fills the disk.</summary>
    [GlobalSetup]
    public void SetUp()
    {
        _source = (byte*)NativeMemory.AlignedAlloc(_sourceBytes, 2 << 20);
        _destination = (byte*)NativeMemory.AlignedAlloc((nuint)LengthBytes * OperationCount, 4096);
        var random = new Random(1);
        random.NextBytes(new Span<byte>(_source, (int)_sourceBytes));
        for (var i = 0; i < PlaceCount; i++)
        {
            _places[i] = (nuint)random.Next((int)((_sourceBytes - (nuint)LengthBytes) / 512) + 1) * 512;
        }
    }

    /// <summary>Frees it.</summary>
    [GlobalCleanup]
    public void CleanUp()
    {
        NativeMemory.AlignedFree(_source);
        NativeMemory.AlignedFree(_destination);
    }

    /// <summary>The runtime's.</summary>
    /// <returns>How many copies are right at both ends.</returns>
    [Benchmark(Baseline = true, OperationsPerInvoke = OperationCount)]
    public long Runtime()
    {
        long right = 0;
        for (var i = 0; i < OperationCount; i++)
        {
            var from = Next();
            var to = Slot(i);
            Buffer.MemoryCopy(from, to, LengthBytes, LengthBytes);
            right += IsRight(from, to);
        }

        return right;
    }

    /// <summary>malloc's, of a single request.</summary>
    /// <returns>How many copies are right at both ends.</returns>
    [Benchmark(OperationsPerInvoke = OperationCount)]
    public long MallocAlone()
    {
        long right = 0;
        for (var i = 0; i < OperationCount; i++)
        {
            var from = Next();
            var to = Slot(i);
            BlockCopy.Copy(to, from, (nuint)LengthBytes, null);
            right += IsRight(from, to);
        }

        return right;
    }

    /// <summary>malloc's, of a batch: each copy fetches the next one's data.</summary>
    /// <returns>How many copies are right at both ends.</returns>
    [Benchmark(OperationsPerInvoke = OperationCount)]
    public long MallocInBatch()
    {
        long right = 0;
        var from = Next();
        for (var i = 0; i < OperationCount; i++)
        {
            var next = Next();
            var to = Slot(i);
            BlockCopy.Copy(to, from, (nuint)LengthBytes, i + 1 < OperationCount ? next : null);
            right += IsRight(from, to);
            from = next;
        }

        return right;
    }

    private byte* Next()
    {
        _at = (_at + 1) & (PlaceCount - 1);
        return _source + _places[_at];
    }

    private byte* Slot(int index) => _destination + ((nuint)index * (nuint)LengthBytes);

    private int IsRight(byte* from, byte* to) => *(ulong*)from == *(ulong*)to && *(ulong*)(from + LengthBytes - 8) == *(ulong*)(to + LengthBytes - 8) ? 1 : 0;
}
