using System.Diagnostics;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>Bounded waits for things that only another process can make true.</summary>
internal static class Deadline
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);

    /// <summary>Waits until a condition is true, or throws with what was waited for.</summary>
    public static async Task UntilAsync(string what, TimeSpan timeout, Func<bool> condition) =>
        await UntilAsync(what, timeout, () => Task.FromResult(condition()));

    /// <summary>
    /// The same with a condition that another process or a guest is asked for. It is left alone for twice the time that its answer took: an emulated guest that is asked
    /// without a pause has half a CPU less for what is waited for.
    /// </summary>
    public static async Task UntilAsync(string what, TimeSpan timeout, Func<Task<bool>> condition)
    {
        long start = Stopwatch.GetTimestamp();
        long asked = start;
        while (!await condition())
        {
            if (Stopwatch.GetElapsedTime(start) > timeout)
            {
                throw new EndToEndException($"{what}: not so within {timeout.TotalSeconds:F0} s");
            }

            TimeSpan answer = Stopwatch.GetElapsedTime(asked);
            await Task.Delay(2 * answer > Interval ? 2 * answer : Interval);
            asked = Stopwatch.GetTimestamp();
        }
    }
}
