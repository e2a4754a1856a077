using System.Globalization;

namespace Vhost.Vvu.Tests;

/// <summary>What a process takes of the processor, as Linux counts it (proc(5)).</summary>
internal static class ProcessorUse
{
    private const int TicksPerSecond = 100;
    private const int MaxLooks = 60;

    /// <summary>
    /// Waits for a second in which a process takes less than half of a processor; a thread that loops never lets one come. The first ones may be busy with
    /// compiling what has just run.
    /// </summary>
    /// <returns>What was seen.</returns>
    public static async Task<string> WaitForIdleAsync(int process)
    {
        List<string> seen = [];
        while (seen.Count < MaxLooks)
        {
            var start = Environment.TickCount64;
            var ticks = Ticks(process);
            await Task.Delay(1000, TestContext.Current.CancellationToken);
            ticks = Ticks(process) - ticks;
            var passed = (Environment.TickCount64 - start) * TicksPerSecond / 1000;
            seen.Add($"{ticks} of {passed} ticks");
            if (ticks < passed / 2)
            {
                return string.Join(", ", seen);
            }
        }

        throw new TimeoutException($"the process is never idle: {string.Join(", ", seen)}");
    }

    /// <summary>How often the thread of a name went to sleep.</summary>
    public static long Sleeps(int process, string threadName)
    {
        const string Field = "voluntary_ctxt_switches:";
        var thread = Directory.GetDirectories($"/proc/{process}/task").Single(path => NameOf(path) == threadName);
        var line = File.ReadLines($"{thread}/status").Single(text => text.StartsWith(Field, StringComparison.Ordinal));
        return long.Parse(line[Field.Length..], CultureInfo.InvariantCulture);
    }

    private static string NameOf(string thread)
    {
        try
        {
            return File.ReadAllText($"{thread}/comm").TrimEnd();
        }
        catch (IOException)
        {
            // It ended meanwhile.
            return "";
        }
    }

    // User and system time in ticks of USER_HZ.
    private static long Ticks(int process)
    {
        // The 14th and 15th field; the name before them is in parentheses.
        var text = File.ReadAllText($"/proc/{process}/stat");
        var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
        return long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
    }
}
