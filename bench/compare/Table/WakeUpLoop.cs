using System.Diagnostics;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <summary>The floor of a first request after a rest: one thread that signals an eventfd, another that sleeps on it and answers through memory.</summary>
internal static class WakeUpLoop
{
    private const int LimitMilliseconds = 60_000;

    /// <summary>Measures.</summary>
    /// <param name="sleeperCpu">The CPU of the thread that sleeps.</param>
    /// <param name="callerCpu">The CPU of the thread that wakes it.</param>
    /// <param name="restMilliseconds">How long both rest before.</param>
    /// <param name="count">How often.</param>
    /// <returns>How long each way there and back took, in microseconds.</returns>
    public static double[] Measure(int sleeperCpu, int callerCpu, int restMilliseconds, int count)
    {
        using var signal = EventFd.Create();
        var answers = 0;
        var sleeper = new Thread(() =>
        {
            Scheduling.PinCurrentThread(sleeperCpu);
            for (var i = 0; i < count && Poll.WaitReadable(signal.Raw, LimitMilliseconds); i++)
            {
                signal.Drain();
                Volatile.Write(ref answers, i + 1);
            }
        });
        var latencies = new double[count];
        Exception? failure = null;
        var caller = new Thread(() =>
        {
            Scheduling.PinCurrentThread(callerCpu);
            for (var i = 0; i < count; i++)
            {
                Thread.Sleep(restMilliseconds);
                var begin = Stopwatch.GetTimestamp();
                _ = EventFd.SignalRaw(signal.Raw);
                while (Volatile.Read(ref answers) != i + 1)
                {
                    if (Stopwatch.GetElapsedTime(begin).TotalMilliseconds > LimitMilliseconds)
                    {
                        failure = new FrontEndException("a sleeping thread was not woken within 60 s");
                        return;
                    }
                }

                latencies[i] = Stopwatch.GetElapsedTime(begin).TotalMicroseconds;
            }
        });
        sleeper.Start();
        caller.Start();
        caller.Join();
        sleeper.Join();
        return failure is null ? latencies : throw failure;
    }
}
