using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Linux;

namespace Vhost.Bench;

/// <summary>
/// How long a cache line takes from one CPU to another and back. It tells two CPUs that share a core from two that do not, which moves every other figure by half.
/// </summary>
internal sealed unsafe class PingPong
{
    private const int LineBytes = 128;
    private const int BatchCount = 1000;

    private readonly ulong* _line;
    private volatile bool _stop;

    private PingPong() => _line = (ulong*)NativeMemory.AlignedAlloc(LineBytes, LineBytes);

    /// <summary>Measures.</summary>
    /// <param name="firstCpu">One CPU.</param>
    /// <param name="secondCpu">The other.</param>
    /// <param name="seconds">How long.</param>
    /// <returns>Nanoseconds there and back.</returns>
    public static double Measure(int firstCpu, int secondCpu, double seconds = 0.2)
    {
        var game = new PingPong();
        *game._line = 0;
        Exception? failure = null;
        var player = new Thread(() =>
        {
            try
            {
                Scheduling.PinCurrentThread(secondCpu);
                game.Answer();
            }
            catch (LinuxException exception)
            {
                failure = exception;
                game._stop = true;
            }
        });
        player.Start();
        var nanoseconds = 0.0;
        var asker = new Thread(() =>
        {
            try
            {
                Scheduling.PinCurrentThread(firstCpu);
                nanoseconds = game.Ask(seconds);
            }
            catch (LinuxException exception)
            {
                failure = exception;
            }
            finally
            {
                game._stop = true;
            }
        });
        asker.Start();
        asker.Join();
        player.Join();
        NativeMemory.AlignedFree(game._line);
        return failure is null ? nanoseconds : throw failure;
    }

    // SAFETY (both sides): the line is live until both threads have ended; release and acquire pair across the two methods.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private double Ask(double seconds)
    {
        var best = double.MaxValue;
        var turn = 0UL;
        var end = Stopwatch.GetTimestamp() + (long)(seconds * Stopwatch.Frequency);
        while (Stopwatch.GetTimestamp() < end)
        {
            var begin = Stopwatch.GetTimestamp();
            for (var i = 0; i < BatchCount; i++)
            {
                Volatile.Write(ref *_line, turn + 1);
                while (Volatile.Read(ref *_line) != turn + 2)
                {
                    if (_stop)
                    {
                        return best;
                    }
                }

                turn += 2;
            }

            // The fastest batch: the others were disturbed.
            best = Math.Min(best, Stopwatch.GetElapsedTime(begin).TotalNanoseconds / BatchCount);
        }

        return best;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Answer()
    {
        while (!_stop)
        {
            var seen = Volatile.Read(ref *_line);
            if ((seen & 1) != 0)
            {
                Volatile.Write(ref *_line, seen + 1);
            }
        }
    }
}
