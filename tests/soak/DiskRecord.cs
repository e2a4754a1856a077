using System.Runtime.InteropServices;

namespace Vhost.Soak.Tests;

/// <summary>
/// What a disk must hold, place by place, over any number of connections. Each write of a place has a number of its own that every word of the data depends on. A
/// write whose result nobody saw leaves two possibilities, each of the place's sectors being old or new; the next write that is acknowledged ends that.
/// </summary>
internal sealed class DiskRecord(int placeCount, int placeBytes)
{
    private const int SectorBytes = 512;
    private const int WordsOfSector = SectorBytes / sizeof(ulong);
    private const ulong Multiplier = 0x9e37_79b9_7f4a_7c15;

    private readonly uint[] _last = new uint[placeCount];
    private readonly uint[] _attempted = new uint[placeCount];
    private readonly bool[] _isBusy = new bool[placeCount];

    /// <summary>Length of a place.</summary>
    public int PlaceBytes => placeBytes;

    /// <summary>Takes a place for a request, so that no other uses it.</summary>
    public bool TryTake(int place)
    {
        if (_isBusy[place])
        {
            return false;
        }

        return _isBusy[place] = true;
    }

    /// <summary>Gives a place back.</summary>
    public void Release(int place) => _isBusy[place] = false;

    /// <summary>Makes the data of the next write of a place.</summary>
    public void Fill(int place, Span<byte> data)
    {
        var number = ++_attempted[place];
        var words = MemoryMarshal.Cast<byte, ulong>(data);
        for (var i = 0; i < words.Length; i++)
        {
            words[i] = Word(place, number, i);
        }
    }

    /// <summary>A write of a place was acknowledged: the disk holds it and nothing else.</summary>
    public void Acknowledge(int place) => _last[place] = _attempted[place];

    /// <summary>Checks what was read from a place.</summary>
    /// <returns>What is wrong, or null.</returns>
    public string? Check(int place, ReadOnlySpan<byte> data)
    {
        var words = MemoryMarshal.Cast<byte, ulong>(data);
        for (var sector = 0; sector < words.Length; sector += WordsOfSector)
        {
            // Of several writes that nobody saw the end of, any may have been the last to arrive.
            var isFound = false;
            for (var number = _last[place]; number <= _attempted[place] && !isFound; number++)
            {
                isFound = Is(words.Slice(sector, WordsOfSector), place, number, sector);
            }

            if (!isFound)
            {
                return $"place {place}, sector {sector / WordsOfSector} holds 0x{words[sector]:x16}, which is none of the writes {_last[place]} to {_attempted[place]}";
            }
        }

        return null;
    }

    private static bool Is(ReadOnlySpan<ulong> words, int place, uint number, int first)
    {
        for (var i = 0; i < words.Length; i++)
        {
            // Nothing was written yet: the disk began with zeroes.
            if (words[i] != (number == 0 ? 0 : Word(place, number, first + i)))
            {
                return false;
            }
        }

        return true;
    }

    private static ulong Word(int place, uint number, int index) => (((ulong)place * Multiplier) ^ ((ulong)number << 40) ^ (uint)index) * Multiplier;
}
