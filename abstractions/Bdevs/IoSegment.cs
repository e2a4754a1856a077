namespace Vhost.Abstractions;

/// <summary>A contiguous piece of memory in this process: guest memory, already translated and checked, or the host's own.</summary>
/// <param name="address">Address of the first byte.</param>
/// <param name="lengthBytes">Length.</param>
public readonly unsafe struct IoSegment(byte* address, nuint lengthBytes)
{
    /// <summary>Address of the first byte.</summary>
    public readonly byte* Address = address;

    /// <summary>Length.</summary>
    public readonly nuint LengthBytes = lengthBytes;
}
