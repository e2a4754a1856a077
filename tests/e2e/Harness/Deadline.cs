using System.Diagnostics;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>Bounded waits for things that only another process can make true.</summary>
internal static class Deadline
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);

    /// <summary>Waits until a condition is true, or throws with what was waited for.</summary>
    public static async Task UntilAsync(string what, TimeSpan timeout, Func<bool> condition) =>
        await UntilAsync(what, timeout, () => Task.FromResult(condition()));

    /// <summary>Waits until a condition is true, or throws with what was waited for.</summary>
    public static async Task UntilAsync(string what, TimeSpan timeout, Func<Task<bool>> condition)
    {
        long start = Stopwatch.GetTimestamp();
        while (!await condition())
        {
            if (Stopwatch.GetElapsedTime(start) > timeout)
            {
                throw new EndToEndException($"{what}: not so within {timeout.TotalSeconds:F0} s");
            }

            await Task.Delay(Interval);
        }
    }
}
