using System.Buffers.Binary;

namespace Vhost.Fuzz.Tests;

/// <summary>
/// A string of bytes read as a sequence of decisions. A target builds what it sends from these decisions, so that any string gives something that has the right
/// structure, the same string always gives the same thing, and a string that is changed a little gives something that is changed a little.
/// </summary>
/// <param name="bytes">The decisions. When they are used up, every further one is 0.</param>
internal sealed class FuzzInput(byte[] bytes)
{
    private static readonly ulong[] Edges =
    [
        0, 1, 2, 7, 8, 0xff, 0x100, 0x1ff, 0x200, 0xfff, 0x1000, 0xffff, 0x10000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000,
        0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, ulong.MaxValue - 0xfff, ulong.MaxValue - 1, ulong.MaxValue,
    ];

    private int _position;

    /// <summary>Whether all decisions are used up.</summary>
    public bool IsEmpty => _position >= bytes.Length;

    /// <summary>A byte.</summary>
    public byte Byte() => _position < bytes.Length ? bytes[_position++] : (byte)0;

    /// <summary>A number below a bound.</summary>
    /// <param name="bound">The bound, at most 65536.</param>
    public int Below(int bound) => bound <= 1 ? 0 : (bound <= 256 ? Byte() : Byte() | (Byte() << 8)) % bound;

    /// <summary>A choice that comes true once in a number of times.</summary>
    /// <param name="times">The number, at most 256.</param>
    public bool Once(int times) => Below(times) == times - 1;

    /// <summary>One of several.</summary>
    public T Of<T>(params ReadOnlySpan<T> choices) => choices[Below(choices.Length)];

    /// <summary>Eight bytes as they come.</summary>
    public ulong Raw()
    {
        Span<byte> raw = stackalloc byte[sizeof(ulong)];
        Fill(raw);
        return BinaryPrimitives.ReadUInt64LittleEndian(raw);
    }

    /// <summary>A number that is mostly small or at an edge of some range.</summary>
    public ulong Number() => Below(4) switch
    {
        0 => (ulong)Below(256),
        1 => Edges[Below(Edges.Length)],
        2 => Edges[Below(Edges.Length)] + (ulong)Below(256) - 128,
        _ => Raw(),
    };

    /// <summary>Fills a buffer with bytes as they come.</summary>
    public void Fill(Span<byte> destination)
    {
        foreach (ref var destinationByte in destination)
        {
            destinationByte = Byte();
        }
    }

    /// <summary>Some bytes.</summary>
    /// <param name="count">How many.</param>
    public byte[] Bytes(int count)
    {
        var result = new byte[count];
        Fill(result);
        return result;
    }
}
