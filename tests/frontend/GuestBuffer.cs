namespace Vhost.Testing.FrontEnd;

/// <summary>A piece of a <see cref="GuestMemory"/>.</summary>
/// <param name="GuestAddress">What descriptors name.</param>
/// <param name="UserAddress">What ring addresses name.</param>
/// <param name="HostAddress">Where this process sees it.</param>
/// <param name="LengthBytes">Its length.</param>
public readonly record struct GuestBuffer(ulong GuestAddress, ulong UserAddress, nint HostAddress, int LengthBytes)
{
    /// <summary>The bytes.</summary>
    public unsafe Span<byte> Span => new((void*)HostAddress, LengthBytes);

    /// <summary>A part of it.</summary>
    /// <param name="offsetBytes">Where it begins.</param>
    /// <param name="lengthBytes">Its length.</param>
    public GuestBuffer Slice(int offsetBytes, int lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)offsetBytes, (uint)LengthBytes, nameof(offsetBytes));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)lengthBytes, (uint)(LengthBytes - offsetBytes), nameof(lengthBytes));
        return new(GuestAddress + (uint)offsetBytes, UserAddress + (uint)offsetBytes, HostAddress + offsetBytes, lengthBytes);
    }
}
