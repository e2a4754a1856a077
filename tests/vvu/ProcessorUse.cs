using System.Globalization;

namespace Vhost.Vvu.Tests;

/// <summary>What a process takes of the processor, as Linux counts it (proc(5)).</summary>
internal static class ProcessorUse
{
    /// <summary>USER_HZ.</summary>
    public const int TicksPerSecond = 100;

    /// <summary>User and system time in ticks.</summary>
    public static long Ticks(int process)
    {
        // The 14th and 15th field; the name before them is in parentheses.
        var text = File.ReadAllText($"/proc/{process}/stat");
        var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
        return long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
    }

    /// <summary>How often the thread of a name went to sleep.</summary>
    public static long Sleeps(int process, string threadName)
    {
        const string Field = "voluntary_ctxt_switches:";
        var thread = Directory.GetDirectories($"/proc/{process}/task").Single(path => File.ReadAllText($"{path}/comm").TrimEnd() == threadName);
        var line = File.ReadLines($"{thread}/status").Single(text => text.StartsWith(Field, StringComparison.Ordinal));
        return long.Parse(line[Field.Length..], CultureInfo.InvariantCulture);
    }
}
