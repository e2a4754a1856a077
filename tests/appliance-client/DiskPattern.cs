using System.Runtime.InteropServices;

namespace Vhost.Appliance.Client;

/// <summary>
/// What a disk holds after it was filled: each word is made of the disk's seed and of its own place, so that data that went astray is told apart from the right
/// data, on the disk and between disks. The same on both sides of the virtual machine.
/// </summary>
internal static class DiskPattern
{
    private const ulong Multiplier = 0x9e37_79b9_7f4a_7c15;

    /// <summary>Fills a piece of the disk.</summary>
    /// <param name="seed">The disk's seed.</param>
    /// <param name="offsetBytes">Where the piece begins, a multiple of 8.</param>
    /// <param name="data">The piece.</param>
    public static void Fill(uint seed, long offsetBytes, Span<byte> data)
    {
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(data);
        for (int i = 0; i < words.Length; i++)
        {
            words[i] = Word(seed, offsetBytes, i);
        }
    }

    /// <summary>Compares a piece of the disk.</summary>
    /// <param name="seed">The disk's seed.</param>
    /// <param name="offsetBytes">Where the piece begins, a multiple of 8.</param>
    /// <param name="data">The piece.</param>
    /// <returns>What is wrong first, or null.</returns>
    public static string? FindFault(uint seed, long offsetBytes, ReadOnlySpan<byte> data)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(data);
        for (int i = 0; i < words.Length; i++)
        {
            if (words[i] != Word(seed, offsetBytes, i))
            {
                return $"byte {offsetBytes + (i * sizeof(ulong))}: 0x{words[i]:x16} instead of 0x{Word(seed, offsetBytes, i):x16}";
            }
        }

        return null;
    }

    private static ulong Word(uint seed, long offsetBytes, int index)
    {
        ulong place = ((ulong)seed << 40) + ((ulong)offsetBytes / sizeof(ulong)) + (ulong)index;
        ulong mixed = (place + 1) * Multiplier;
        return mixed ^ (mixed >> 29);
    }
}
