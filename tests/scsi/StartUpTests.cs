namespace Vhost.Scsi.Tests;

/// <summary>The commands that initiators send to a new disk, in their order, with the lengths that they ask for.</summary>
public sealed class StartUpTests
{
    [Fact]
    public void Linux_finds_the_disk()
    {
        using var disk = new Disk(512, 20480, settle: false);

        // scsi_scan, sd_probe and sd_revalidate_disk of Linux 6.x.
        disk.Run("12 00 00 00 24 00", null, 36).Good();
        disk.Run("12 00 00 00 60 00", null, 96).Good();
        disk.Run("A0 00 00 000000 00001000 00 00", null, 4096).Good();
        foreach (var page in (string[])["00", "80", "83", "B0", "B1", "B2"])
        {
            // The length first, then the page.
            var length = disk.Run($"12 01 {page} 00 04 00", null, 4).Good();
            var whole = ((length.DataIn[2] << 8) | length.DataIn[3]) + 4;
            Assert.Equal((ulong)whole, disk.Run($"12 01 {page} {whole:X4} 00", null, whole).Good().TransferredBytes);
        }

        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.PowerOnOrReset);
        disk.Run("00 00 00 00 00 00").Good();
        disk.Run("9E 10 0000000000000000 00000020 00 00", null, 32).Good();
        disk.Run("25 00 00000000 00 0000 00", null, 8).Good();
        var modes = disk.Run("1A 00 3F 00 04 00", null, 4).Good();
        Assert.Equal(0x10, modes.DataIn[2]); // not write-protected, DPO and FUA
        var caching = disk.Run("1A 00 08 00 04 00", null, 4).Good();
        Assert.Equal(32, caching.DataIn[0] + 1);
        var page8 = disk.Run("1A 00 08 00 20 00", null, 32).Good();
        Assert.Equal((0x08, 0x04), (page8.DataIn[12], page8.DataIn[14]));
        disk.Run("1A 00 0A 00 FF 00", null, 255).Good();
        disk.Run("A3 0C 01 35 0000 00000200 00 00", null, 512).Good();
        Assert.Equal(3, disk.Run("A3 0C 01 93 0000 00000200 00 00", null, 512).Good().DataIn[1]);
        disk.Run("5A 08 0A 05 00 00 00 00 40 00", null, 64).IllegalField(3); // the IO hints subpage: not there
        disk.Run("28 00 00000000 00 0008 00", null, 4096).Good();
        disk.Run("35 00 00000000 00 0000 00").Good();
        disk.Run("1B 00 00 00 00 00").Good();
        disk.Run("1B 00 00 00 01 00").Good();
    }

    [Fact]
    public void Linux_switches_the_write_cache()
    {
        using var disk = new Disk();

        // sd's cache_type attribute: it sends back what it read, PS cleared.
        var data = disk.Run("5A 08 08 00 00 00 00 00 40 00", null, 64).Good().DataIn;
        var list = data[..28];
        list[0] = list[1] = list[3] = 0;
        list[8 + 2] &= 0xFB;
        disk.Run("55 10 00 00 00 00 00 001C 00", list).Good();
        Assert.Equal(0, disk.Run("5A 08 08 00 00 00 00 00 40 00", null, 64).Good().DataIn[10] & 4);
    }

    [Fact]
    public void Windows_finds_the_disk()
    {
        using var disk = new Disk(512, 20480, settle: false);

        // storport and classpnp: a bus scan, then the disk class driver.
        disk.Run("A0 00 00 000000 00000010 00 00", null, 16).Good();
        disk.Run("12 00 00 00 FF 00", null, 255).Good();
        disk.Run("12 01 00 00 FF 00", null, 255).Good();
        disk.Run("12 01 83 00 FF 00", null, 255).Good();
        disk.Run("12 01 80 00 FF 00", null, 255).Good();
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.PowerOnOrReset);
        disk.Run("00 00 00 00 00 00").Good();
        disk.Run("1A 00 3F 00 C0 00", null, 192).Good();
        disk.Run("1A 08 1C 00 C0 00", null, 192).Good();
        disk.Run("25 00 00000000 00 0000 00", null, 8).Good();
        disk.Run("9E 10 0000000000000000 00000020 00 00", null, 32).Good();
        disk.Run("12 01 B0 00 40 00", null, 64).Good();
        disk.Run("12 01 B1 00 40 00", null, 64).Good();
        disk.Run("12 01 B2 00 08 00", null, 8).Good();
        disk.Run("1A 08 08 00 C0 00", null, 192).Good();
        disk.Run("4D 00 40 00 00 0000 00FF 00", null, 255).Good();
        disk.Run("28 00 00000000 00 0001 00", null, 512).Good();
        disk.Run("8A 08 0000000000000000 00000001 00 00", new byte[512]).Good();
        disk.Run("42 00 00000000 00 0018 00", Convert.FromHexString("00160010000000000000000000000100" + "0000001000000000")).Good();
    }
}
