using Vhost.Appliance.Client;

namespace Vhost.Appliance.Tests;

/// <summary>A disk of the appliance and the image that holds it.</summary>
/// <param name="Bdev">What vhostd calls it.</param>
/// <param name="Image">The image on this machine.</param>
/// <param name="Target">The target that it is in the tests' manifest.</param>
internal sealed record ApplianceDisk(string Bdev, string Image, int Target)
{
    /// <summary>Size of every disk.</summary>
    public const int SizeMiB = 16;

    /// <summary>Compares the whole image with a pattern, outside of the virtual machine.</summary>
    public void AssertHolds(uint seed)
    {
        const int Piece = 1 << 20;
        using FileStream file = File.OpenRead(Image);
        Assert.Equal((long)SizeMiB << 20, file.Length);
        byte[] data = new byte[Piece];
        for (long offset = 0; offset < file.Length; offset += Piece)
        {
            file.ReadExactly(data);
            Assert.Null(DiskPattern.FindFault(seed, offset, data) is { } fault ? $"{Bdev}: {fault}" : null);
        }
    }
}
