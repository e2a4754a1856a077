using System.Globalization;
using Vhost.Linux;

namespace Vhost.Appliance.Client;

/// <summary>
/// Takes all memory of the machine that is free, huge pages too, fills it with a pattern and compares it when asked: what a device writes to a page that the
/// kernel gave away is seen. It is asked by files in a directory: <c>ready</c> appears when all is filled; <c>check</c> is replaced by <c>result</c>; <c>end</c> ends it.
/// </summary>
/// <param name="directory">The directory, empty.</param>
/// <param name="reserveMiB">Ordinary memory that is left to others.</param>
internal sealed class MemoryHolder(string directory, int reserveMiB)
{
    private const nuint HugePageBytes = 2 << 20;
    private const nuint PieceBytes = 4 << 20;
    private const ulong Pattern = 0xa5c3_5a3c_69f0_960f;
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);
    private readonly List<(MemoryMapping Memory, string Kind)> _held = [];

    /// <summary>Fills, and compares until it is ended or nobody asks for too long.</summary>
    public void Run()
    {
        while (MemoryMapping.TryMapHugeTlb(HugePageBytes, HugePageBytes) is { } page)
        {
            Take(page, "huge");
        }

        while (AvailableMiB() > reserveMiB)
        {
            Take(MemoryMapping.MapAnonymous(PieceBytes), "ram");
        }

        string held = $"{_held.Count(h => h.Kind == "huge")} huge pages and {_held.Count(h => h.Kind == "ram") * 4} MiB";
        Write("ready", held);
        long end = Environment.TickCount64 + (long)Limit.TotalMilliseconds;
        while (!File.Exists(Name("end")) && Environment.TickCount64 < end)
        {
            if (File.Exists(Name("check")))
            {
                File.Delete(Name("check"));
                string[] changed = [.. _held.Select(Compare).OfType<string>()];
                Write("result", changed.Length == 0 ? $"unchanged: {held}" : $"changed in {changed.Length} places: {string.Join("; ", changed.Take(3))}");
            }

            Thread.Sleep(TimeSpan.FromMilliseconds(50));
        }
    }

    private static unsafe Span<ulong> Words(MemoryMapping memory) => new(memory.Address, checked((int)(memory.Length / sizeof(ulong))));

    private static string? Compare((MemoryMapping Memory, string Kind) held)
    {
        Span<ulong> words = Words(held.Memory);
        int at = words.IndexOfAnyExcept(Pattern);
        return at < 0 ? null : $"{held.Kind}: word {at} is 0x{words[at]:x16}";
    }

    private static long AvailableMiB() => File.ReadLines("/proc/meminfo")
        .Where(line => line.StartsWith("MemFree:", StringComparison.Ordinal))
        .Select(line => long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) >> 10)
        .Single();

    private void Take(MemoryMapping memory, string kind)
    {
        Words(memory).Fill(Pattern);
        _held.Add((memory, kind));
    }

    private string Name(string name) => Path.Combine(directory, name);

    // The reader must not see half of it.
    private void Write(string name, string text)
    {
        File.WriteAllText(Name(name + ".new"), text);
        File.Move(Name(name + ".new"), Name(name), overwrite: true);
    }
}
