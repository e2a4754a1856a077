using System.Buffers.Binary;

namespace Vhost.VhostUser;

/// <summary>
/// Shared memory outside guest memory: a dirty log (vhost-user, "Log description") or, with counts, an in-flight area ("Inflight description").
/// </summary>
/// <param name="LengthBytes">Its length.</param>
/// <param name="OffsetBytes">Where it begins behind its descriptor.</param>
/// <param name="QueueCount">In-flight area: number of queues.</param>
/// <param name="QueueSize">In-flight area: size of each queue.</param>
public readonly record struct SharedAreaDescription(ulong LengthBytes, ulong OffsetBytes, ushort QueueCount = 0, ushort QueueSize = 0)
{
    /// <summary>Length of a log description on the wire.</summary>
    public const int LogWireBytes = 16;

    /// <summary>Length of an in-flight description on the wire; front-ends pad it to a multiple of 8.</summary>
    public const int InFlightWireBytes = 20;

    /// <summary>Reads a log description.</summary>
    /// <param name="source">At least <see cref="LogWireBytes"/>.</param>
    public static SharedAreaDescription ReadLog(ReadOnlySpan<byte> source) =>
        new(BinaryPrimitives.ReadUInt64LittleEndian(source), BinaryPrimitives.ReadUInt64LittleEndian(source[8..]));

    /// <summary>Reads an in-flight description.</summary>
    /// <param name="source">At least <see cref="InFlightWireBytes"/>.</param>
    public static SharedAreaDescription ReadInFlight(ReadOnlySpan<byte> source) => new(
        BinaryPrimitives.ReadUInt64LittleEndian(source),
        BinaryPrimitives.ReadUInt64LittleEndian(source[8..]),
        BinaryPrimitives.ReadUInt16LittleEndian(source[16..]),
        BinaryPrimitives.ReadUInt16LittleEndian(source[18..]));

    /// <summary>Writes a log description.</summary>
    /// <param name="destination">At least <see cref="LogWireBytes"/>.</param>
    public void WriteLog(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(destination, LengthBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], OffsetBytes);
    }

    /// <summary>Writes an in-flight description.</summary>
    /// <param name="destination">At least <see cref="InFlightWireBytes"/>.</param>
    public void WriteInFlight(Span<byte> destination)
    {
        WriteLog(destination);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[16..], QueueCount);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[18..], QueueSize);
    }
}
