namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>What a user does with a disk in a guest; the same for every kind of disk.</summary>
internal static class GuestChecks
{
    /// <summary>Partitions a disk, makes a file system, writes files, and compares their checksums after a new mount; then checks the file system.</summary>
    public static Task FileSystemAsync(GuestVm vm, string disk) => vm.CheckAsync(
        $"""
        set -e
        printf 'label: gpt\nsize=16MiB\nsize=+\n' | sfdisk --quiet {disk}
        blockdev --rereadpt {disk}
        wait-disks
        part={disk}2
        mkfs.ext4 -q -F "$part"
        mkdir -p /mnt/disk
        mount "$part" /mnt/disk
        mkdir /mnt/disk/directory
        for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/mnt/disk/directory/$i bs=64k count=20 2>/dev/null; done
        (cd /mnt/disk/directory && sha256sum *) > /run/checksums
        umount /mnt/disk
        blockdev --flushbufs {disk}
        echo 3 > /proc/sys/vm/drop_caches
        mount -o ro "$part" /mnt/disk
        (cd /mnt/disk/directory && sha256sum -c /run/checksums)
        umount /mnt/disk
        e2fsck -f -n "$part"
        """,
        TimeSpan.FromSeconds(90));

    /// <summary>The SHA-256 of the first MiBs of a disk, read past the guest's page cache.</summary>
    public static async Task<string> Sha256Async(GuestVm vm, string disk, int sizeMiB) =>
        (await vm.CheckAsync($"set -o pipefail; dd if={disk} bs=1M count={sizeMiB} iflag=direct 2>/dev/null | sha256sum")).Split(' ')[0];

    /// <summary>Fills the first MiBs of a disk with random bytes, past the guest's page cache and with a flush at the end; returns their SHA-256.</summary>
    public static async Task<string> FillAsync(GuestVm vm, string disk, int sizeMiB)
    {
        string written = (await vm.CheckAsync(
            $"""
            set -e
            dd if=/dev/urandom of=/run/random bs=1M count={sizeMiB} 2>/dev/null
            dd if=/run/random of={disk} bs=1M oflag=direct conv=notrunc,fsync 2>/dev/null
            sha256sum < /run/random
            rm /run/random
            """)).Split(' ')[0];
        Assert.Equal(written, await Sha256Async(vm, disk, sizeMiB));
        return written;
    }

    /// <summary>Name, size in bytes and logical block size of each disk, as the guest's kernel sees them, in the order of their names.</summary>
    public static async Task<IReadOnlyList<(string Name, long Bytes, int BlockBytes)>> DisksAsync(GuestVm vm)
    {
        string output = await vm.CheckAsync("cd /sys/block; for d in sd* vd*; do [ -e $d ] && echo $d $(cat $d/size $d/queue/logical_block_size); done; true");
        return [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => line.Split(' '))
            .Select(w => (w[0], long.Parse(w[1], System.Globalization.CultureInfo.InvariantCulture) * 512, int.Parse(w[2], System.Globalization.CultureInfo.InvariantCulture)))];
    }

    /// <summary>
    /// The block devices of SCSI target 0, 1, ... LUN 0 of the only SCSI host: the guest numbers its sd names in the order its probes finish,
    /// so a test goes by address.
    /// </summary>
    public static async Task<IReadOnlyDictionary<int, string>> ScsiDisksAsync(GuestVm vm)
    {
        string output = await vm.CheckAsync("lsscsi -b");
        var disks = new Dictionary<int, string>();
        foreach (string line in output.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            string[] address = words[0].Trim('[', ']').Split(':');
            Assert.Equal("0", address[1]);
            Assert.Equal("0", address[3]);
            disks.Add(int.Parse(address[2], System.Globalization.CultureInfo.InvariantCulture), words[1]);
        }

        return disks;
    }
}
