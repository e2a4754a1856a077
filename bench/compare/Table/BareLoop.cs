using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Linux;

namespace Vhost.Bench;

/// <summary>The ceiling of work on several CPUs: threads that look up and store in a table of their own that fits the first cache, and share nothing.</summary>
internal static unsafe class BareLoop
{
    private const int TableEntries = 2048;
    private const int StepsPerTurn = 4096;
    private const int StepsPerOperation = 16;

    /// <summary>Runs.</summary>
    /// <param name="seconds">How long.</param>
    /// <param name="cpus">A thread on each of these CPUs.</param>
    /// <returns>Operations a second of all together; one is some steps that depend on each other.</returns>
    /// <exception cref="LinuxException">A CPU is not allowed.</exception>
    public static double Run(double seconds, params int[] cpus)
    {
        using var start = new Barrier(cpus.Length);
        var loops = cpus.Select(cpu => OwnThread.Start(() =>
        {
            try
            {
                Scheduling.PinCurrentThread(cpu);
            }
            finally
            {
                // Or the others would wait for ever.
                start.SignalAndWait();
            }

            return RunOne(seconds);
        })).ToArray();
        return Task.WhenAll(loops).GetAwaiter().GetResult().Sum();
    }

    // SAFETY: the table is live until the loop has ended, and every index is masked to its length, a power of two.
    private static double RunOne(double seconds)
    {
        var table = (ulong*)NativeMemory.AlignedAlloc(TableEntries * sizeof(ulong), 4096);
        new Span<ulong>(table, TableEntries).Fill(1);
        var begin = Stopwatch.GetTimestamp();
        var end = begin + (long)(seconds * Stopwatch.Frequency);
        var steps = 0L;
        var state = 0x2545_f491_4f6c_dd1dUL;
        while (Stopwatch.GetTimestamp() < end)
        {
            state = Turn(table, state);
            steps += StepsPerTurn;
        }

        var rate = steps / StepsPerOperation / Stopwatch.GetElapsedTime(begin).TotalSeconds;
        NativeMemory.AlignedFree(table);
        return rate;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static ulong Turn(ulong* table, ulong state)
    {
        for (var i = 0; i < StepsPerTurn; i++)
        {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            var entry = table + (state & (TableEntries - 1));
            state += *entry;
            *entry = state;
        }

        return state;
    }
}
