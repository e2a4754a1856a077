using System.Runtime.InteropServices;

namespace Vhost.Bench;

/// <summary>
/// Knows what each block of a disk must hold: each write stores its place and how often the place was written, so that lost, late, torn and misplaced writes
/// are told apart from the right data. Two requests to the same place are never under way at once.
/// </summary>
internal sealed class BlockVerifier
{
    private const ulong Multiplier = 0x9e37_79b9_7f4a_7c15;

    private readonly uint[] _generations;
    private readonly bool[] _busy;

    /// <summary>Knows nothing yet: a place is checked from its first write on.</summary>
    /// <param name="placeCount">Number of places.</param>
    public BlockVerifier(ulong placeCount)
    {
        _generations = new uint[checked((int)placeCount)];
        _busy = new bool[_generations.Length];
    }

    /// <summary>Takes a place for a request.</summary>
    /// <param name="place">The place.</param>
    /// <returns>False if another request has it.</returns>
    public bool TryTake(ulong place)
    {
        if (_busy[place])
        {
            return false;
        }

        _busy[place] = true;
        return true;
    }

    /// <summary>Gives a place back.</summary>
    /// <param name="place">The place.</param>
    public void Release(ulong place) => _busy[place] = false;

    /// <summary>Fills the data of a write.</summary>
    /// <param name="place">The place.</param>
    /// <param name="data">The data.</param>
    public void Fill(ulong place, Span<byte> data)
    {
        var generation = ++_generations[place];
        var words = MemoryMarshal.Cast<byte, ulong>(data);
        for (var i = 0; i < words.Length; i++)
        {
            words[i] = Word(place, generation, i);
        }
    }

    /// <summary>Checks the data of a read.</summary>
    /// <param name="place">The place.</param>
    /// <param name="data">The data.</param>
    /// <returns>What is wrong, or null.</returns>
    public string? Check(ulong place, ReadOnlySpan<byte> data)
    {
        var generation = _generations[place];
        if (generation == 0)
        {
            return null;
        }

        var words = MemoryMarshal.Cast<byte, ulong>(data);
        for (var i = 0; i < words.Length; i++)
        {
            if (words[i] != Word(place, generation, i))
            {
                return $"place {place}, byte {i * sizeof(ulong)}: 0x{words[i]:x16} instead of 0x{Word(place, generation, i):x16} (write {generation})";
            }
        }

        return null;
    }

    private static ulong Word(ulong place, uint generation, int index) =>
        ((place * Multiplier) ^ ((ulong)generation << 40) ^ (uint)index) * Multiplier;
}
