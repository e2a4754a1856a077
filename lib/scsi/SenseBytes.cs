using System.Runtime.CompilerServices;

namespace Vhost.Scsi;

/// <summary>Room for the longest sense data that the device server makes.</summary>
[InlineArray(LengthBytes)]
public struct SenseBytes
{
    /// <summary>Length of the room.</summary>
    public const int LengthBytes = 40;

    private byte _element;
}
