using System.Globalization;
using System.Text.RegularExpressions;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.VvuTopology.Tests;

/// <summary>The page's Compute VM.</summary>
internal static partial class ComputeVm
{
    /// <summary>The blk disk.</summary>
    public const string Blk = "/dev/vda";

    /// <summary>Its disks: three LUNs and the blk disk.</summary>
    public const int DiskCount = 4;

    /// <summary>How long the emulated CPUs may take for what real ones do in a second or two.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(180);

    /// <summary>Boots it, and waits for its disks.</summary>
    /// <param name="scenario">What it belongs to.</param>
    /// <param name="qemu">The newer one reconnects for scsi as well.</param>
    /// <param name="name">For messages.</param>
    public static async Task<GuestVm> StartAsync(Scenario scenario, QemuRelease qemu, string name)
    {
        List<string> arguments = [.. Guide.Arguments("compute", scenario)];
        int memoryMiB = int.Parse(Guide.Value(arguments, "-m").TrimEnd('M'), CultureInfo.InvariantCulture);
        string memory = scenario.FilePath("compute-memory");
        Assert.Equal($"memory-backend-file,id=ram,size={memoryMiB}M,mem-path={memory},share=on", Guide.Value(arguments, "-object"));
        foreach (string given in (string[])["-m", "-object"])
        {
            arguments.RemoveRange(arguments.IndexOf(given), 2);
        }

        if (qemu == QemuRelease.Trixie)
        {
            // As the page says of newer releases.
            arguments = [.. arguments.Select(a => a.StartsWith("socket,", StringComparison.Ordinal) ? $"{a.Replace(",reconnect=1", "", StringComparison.Ordinal)},reconnect-ms=1000" : a)];
        }

        GuestVm vm = await GuestVm.StartAsync(
            scenario, new GuestVmOptions { Qemu = qemu, MemoryMiB = memoryMiB, MemoryFile = memory, ExtraArguments = arguments }, name);
        await vm.WaitForDisksAsync(DiskCount, Patience);
        return vm;
    }

    /// <summary>Compares lsscsi with the page; returns the LUNs' block devices.</summary>
    public static async Task<IReadOnlyList<string>> ScsiDisksAsync(GuestVm vm)
    {
        // The kernel numbers the names as its probes finish.
        string[] seen = [.. Lines(await vm.CheckAsync("lsscsi"))];
        Assert.Equal(Lines(Guide.Block("lsscsi")).Select(WithoutName), seen.Select(WithoutName));
        return [.. seen.Select(l => l[l.IndexOf("/dev/", StringComparison.Ordinal)..])];

        static string WithoutName(string line) => Name().Replace(line, "");
        static IEnumerable<string> Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.TrimEnd()).Order(StringComparer.Ordinal);
    }

    /// <summary>Writes and verifies a disk at random, in small blocks and in large ones.</summary>
    public static async Task VerifyAsync(GuestVm vm, string disk)
    {
        await vm.CheckAsync(Fio.Verify(disk, 4), Patience);
        await vm.CheckAsync(Fio.Verify(disk, 8, blockBytes: 131072, depth: 4), Patience);
    }

    /// <summary>Makes an ext4 with checksums of its metadata, and files with their SHA-256 in it; leaves it mounted.</summary>
    public static Task MakeFilesAsync(GuestVm vm, string disk) => vm.CheckAsync(
        $"""
        set -e
        mkfs.ext4 -q -F -O metadata_csum {disk}
        directory=/mnt/$(basename {disk}); mkdir -p $directory
        mount {disk} $directory
        cd $directory
        for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=$i bs=64k count=12 2>/dev/null; done
        sha256sum [1-8] > checksums
        sync
        """,
        Patience);

    /// <summary>Checks the file system that <see cref="MakeFilesAsync"/> made, and its files, from the disk and not from the page cache.</summary>
    public static Task CheckFilesAsync(GuestVm vm, string disk) => vm.CheckAsync(
        $"""
        set -e
        directory=/mnt/$(basename {disk}); mkdir -p $directory
        if grep -q " $directory " /proc/mounts; then umount $directory; fi
        blockdev --flushbufs {disk}
        echo 3 > /proc/sys/vm/drop_caches
        mount {disk} $directory
        (cd $directory && sha256sum -c checksums)
        umount $directory
        e2fsck -f -n {disk}
        """,
        Patience);

    /// <summary>Writes files without end into a mounted file system, each flushed; ends with the VM, or when <c>/run/enough</c> is there.</summary>
    public static Task<CommandResult> WriteFilesAsync(GuestVm vm, string disk) => vm.RunAsync(
        $"""
        set -e
        directory=/mnt/$(basename {disk}); mkdir -p $directory
        grep -q " $directory " /proc/mounts || mount {disk} $directory
        cd $directory
        while [ ! -e /run/enough ]; do
          for i in 1 2 3 4; do dd if=/dev/urandom of=new-$i bs=64k count=4 conv=fsync 2>/dev/null; done
        done
        """,
        TimeSpan.FromMinutes(5));

    /// <summary>Waits until so many more writes of each disk have completed.</summary>
    public static async Task WaitForWritesAsync(GuestVm vm, int count, params IReadOnlyList<string> disks)
    {
        long[] before = await WritesAsync();
        await Deadline.UntilAsync($"{count} writes of {string.Join(", ", disks)}", Patience, async () => (await WritesAsync()).Zip(before).All(w => w.First - w.Second >= count));

        async Task<long[]> WritesAsync() =>
            [.. (await vm.CheckAsync($"sleep 0.3; cd /sys/block; for d in {string.Join(' ', disks)}; do cut -c1-200 $(basename $d)/stat; done"))
                .Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(l => long.Parse(l.Split(' ', StringSplitOptions.RemoveEmptyEntries)[4], CultureInfo.InvariantCulture))];
    }

    /// <summary>The SHA-256 of a whole disk, read past the page cache.</summary>
    public static async Task<string> Sha256Async(GuestVm vm, string disk) =>
        (await vm.CheckAsync($"set -o pipefail; sync; dd if={disk} bs=1M iflag=direct 2>/dev/null | sha256sum", Patience)).Split(' ')[0];

    [GeneratedRegex(@"/dev/sd[a-z]$")]
    private static partial Regex Name();
}
