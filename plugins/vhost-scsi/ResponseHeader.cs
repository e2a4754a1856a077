using System.Runtime.CompilerServices;
using Vhost.Scsi;

namespace Vhost.Plugins.VhostScsi;

/// <summary>
/// The response before its sense data (virtio 1.3, section 5.6.6.1): sense_len, residual, status_qualifier (always 0), status, response. As two words, so that it
/// goes out in two stores: field by field on the stack and then as a whole, the copy would wait for the fields' stores.
/// </summary>
/// <param name="senseLength">Length of the sense data.</param>
/// <param name="residual">How much of the buffers was not used; what does not fit counts as the most that does.</param>
/// <param name="status">The SCSI status.</param>
/// <param name="response">The response.</param>
internal readonly unsafe struct ResponseHeader(uint senseLength, ulong residual, ScsiStatus status, Response response)
{
    private readonly ulong _lengths = senseLength | (Math.Min(residual, uint.MaxValue) << 32);
    private readonly uint _outcome = ((uint)status << 16) | ((uint)response << 24);

    /// <summary>Writes it: <see cref="VirtioScsi.ResponseHeaderBytes"/>.</summary>
    /// <param name="destination">Where to.</param>
    // SAFETY: the caller's memory has that length.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Write(byte* destination)
    {
        Unsafe.WriteUnaligned(destination, _lengths);
        Unsafe.WriteUnaligned(destination + sizeof(ulong), _outcome);
    }
}
