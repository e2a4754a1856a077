using System.Runtime.CompilerServices;

namespace Vhost.Scsi;

/// <summary>Room for a CDB of up to 32 bytes; bytes past its end are zero.</summary>
[InlineArray(LengthBytes)]
public struct CdbBytes
{
    /// <summary>Length of the room.</summary>
    public const int LengthBytes = 32;

    private byte _element;
}
