using System.Globalization;
using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>CPU affinity of the calling thread, and which CPUs there are.</summary>
public static unsafe class Scheduling
{
    private const int MaxCpus = 8192; // CONFIG_NR_CPUS of the largest stock kernels

    /// <summary>Pins the calling thread to one CPU.</summary>
    /// <param name="cpu">CPU number.</param>
    /// <exception cref="LinuxException">There is no such CPU, or it is not allowed to this process.</exception>
    public static void PinCurrentThread(int cpu)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(cpu);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(cpu, MaxCpus);
        ulong* mask = stackalloc ulong[MaxCpus / 64];
        new Span<ulong>(mask, MaxCpus / 64).Clear();
        mask[cpu / 64] = 1UL << (cpu % 64);
        if (Libc.sched_setaffinity(0, MaxCpus / 8, mask) != 0)
        {
            throw LinuxException.Last("sched_setaffinity", $"CPU {cpu}");
        }
    }

    /// <summary>The CPUs that the calling thread may run on, ascending.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static IReadOnlyList<int> GetAllowedCpus()
    {
        ulong* mask = stackalloc ulong[MaxCpus / 64];
        new Span<ulong>(mask, MaxCpus / 64).Clear();
        if (Libc.sched_getaffinity(0, MaxCpus / 8, mask) < 0)
        {
            throw LinuxException.Last("sched_getaffinity");
        }

        var cpus = new List<int>();
        for (int cpu = 0; cpu < MaxCpus; cpu++)
        {
            if ((mask[cpu / 64] & (1UL << (cpu % 64))) != 0)
            {
                cpus.Add(cpu);
            }
        }

        return cpus;
    }

    /// <summary>The CPU that runs the calling thread now.</summary>
    public static int GetCurrentCpu() => Libc.sched_getcpu();

    /// <summary>The CPUs that are on line, from sysfs.</summary>
    public static IReadOnlyList<int> GetOnlineCpus() => ParseCpuList(File.ReadAllText("/sys/devices/system/cpu/online"));

    /// <summary>Parses a CPU list of the kernel's form, for example <c>0-3,8</c>.</summary>
    /// <param name="list">The list.</param>
    /// <exception cref="FormatException">The text is no CPU list.</exception>
    public static IReadOnlyList<int> ParseCpuList(string list)
    {
        var cpus = new List<int>();
        foreach (string part in list.Trim().Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            string[] ends = part.Split('-');
            if (ends.Length > 2
                || !int.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out int first)
                || !int.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out int last)
                || last < first || last >= MaxCpus)
            {
                throw new FormatException($"'{list.Trim()}' is no CPU list: '{part}'");
            }

            for (int cpu = first; cpu <= last; cpu++)
            {
                cpus.Add(cpu);
            }
        }

        return cpus;
    }
}

internal static unsafe partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int sched_setaffinity(int pid, nuint bytes, ulong* mask);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int sched_getaffinity(int pid, nuint bytes, ulong* mask);

    [LibraryImport(Library)]
    internal static partial int sched_getcpu();
}
