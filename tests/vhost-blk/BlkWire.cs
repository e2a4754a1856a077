namespace Vhost.VhostBlk.Tests;

/// <summary>Types and status values of requests (virtio 1.3, section 5.2.6), written down once more: the tests do not take the device's own.</summary>
internal static class BlkWire
{
    public const uint In = 0;
    public const uint Out = 1;
    public const uint Flush = 4;
    public const uint GetId = 8;
    public const uint GetLifetime = 10;
    public const uint Discard = 11;
    public const uint WriteZeroes = 13;
    public const uint SecureErase = 14;

    public const byte Ok = 0;
    public const byte IoError = 1;
    public const byte Unsupported = 2;
}
