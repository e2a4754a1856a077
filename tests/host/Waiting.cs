using System.Diagnostics;

namespace Vhost.Host.Tests;

/// <summary>Bounded waits.</summary>
internal static class Waiting
{
    internal static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    internal static async Task UntilAsync(Func<bool> condition, string what, TimeSpan? limit = null)
    {
        var start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            Assert.True(Stopwatch.GetElapsedTime(start) < (limit ?? Limit), $"timed out: {what}");
            await Task.Delay(2, TestContext.Current.CancellationToken);
        }
    }
}
