using System.Globalization;
using System.Security.Cryptography;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>What a guest does with its disks while nothing goes wrong.</summary>
public sealed class DisksTests(ServedGuest served) : IClassFixture<ServedGuest>
{
    private const long MiB = 1 << 20;

    public static TheoryData<string> WritableDisks => ["scsi0", "scsi1", "scsi3", "blk0", "blk1"];

    [Fact]
    public Task Lsscsi_and_lsblk_show_every_disk_with_its_size_and_block_size() => served.Scenario.WatchAsync(async () =>
    {
        IReadOnlyDictionary<int, string> byTarget = await GuestChecks.ScsiDisksAsync(served.Vm);
        Assert.Equal([0, 1, 2, 3], byTarget.Keys.Order());
        var sizes = (await GuestChecks.DisksAsync(served.Vm)).ToDictionary(d => $"/dev/{d.Name}", d => (d.Bytes, d.BlockBytes));
        Assert.Equal((64 * MiB, 512), sizes[byTarget[0]]);
        Assert.Equal((72 * MiB, 4096), sizes[byTarget[1]]);
        Assert.Equal((1024 * MiB, 512), sizes[byTarget[2]]);
        Assert.Equal((96 * MiB, 512), sizes[byTarget[3]]);
        Assert.Equal((64 * MiB, 512), sizes["/dev/vda"]);
        Assert.Equal((80 * MiB, 512), sizes["/dev/vdb"]);
        Assert.Equal((2048 * MiB, 4096), sizes["/dev/vdc"]);
        string lsscsi = await served.Vm.CheckAsync("lsscsi");
        Assert.Equal(4, lsscsi.Split('\n').Count(l => l.Contains(" disk ", StringComparison.Ordinal)));
    });

    [Theory]
    [MemberData(nameof(WritableDisks))]
    public Task Fio_verifies_what_it_wrote(string disk) => served.Scenario.WatchAsync(async () =>
        await served.Vm.CheckAsync(Fio.Verify(await DeviceAsync(disk), 12, depth: 32)));

    [Theory]
    [InlineData("scsi0")]
    [InlineData("blk0")]
    public Task Fio_verifies_large_blocks_on_all_queues_at_once(string disk) => served.Scenario.WatchAsync(async () =>
        await served.Vm.CheckAsync(Fio.Verify(
            await DeviceAsync(disk), 16, 262144, depth: 8, "--numjobs=2 --offset_increment=16M --cpus_allowed=0-1 --cpus_allowed_policy=split --group_reporting")));

    [Theory]
    [InlineData("scsi0")]
    [InlineData("scsi3")]
    [InlineData("blk0")]
    [InlineData("blk1")]
    public Task A_file_system_keeps_its_files(string disk) => served.Scenario.WatchAsync(async () =>
        await GuestChecks.FileSystemAsync(served.Vm, await DeviceAsync(disk)));

    [Theory]
    [InlineData("scsi3")]
    [InlineData("blk1")]
    public Task What_the_guest_flushed_is_in_the_file_of_the_host(string disk) => served.Scenario.WatchAsync(async () =>
    {
        string written = await GuestChecks.FillAsync(served.Vm, await DeviceAsync(disk), 4);
        byte[] head = new byte[4 * MiB];
        await using FileStream file = File.OpenRead(HostFile(disk));
        await file.ReadExactlyAsync(head);
        Assert.Equal(written, Convert.ToHexStringLower(SHA256.HashData(head)));
    });

    [Theory]
    [InlineData("scsi3")]
    [InlineData("blk1")]
    public Task Discard_gives_the_blocks_of_the_file_back(string disk) => served.Scenario.WatchAsync(async () =>
    {
        string device = await DeviceAsync(disk);
        await served.Vm.CheckAsync($"blkdiscard -f {device}");
        long empty = AllocatedBytes(HostFile(disk));
        await GuestChecks.FillAsync(served.Vm, device, 8);
        Assert.True(AllocatedBytes(HostFile(disk)) >= empty + (8 * MiB));
        await served.Vm.CheckAsync($"blkdiscard -f -o 0 -l {8 * MiB} {device}");
        Assert.True(AllocatedBytes(HostFile(disk)) <= empty + MiB);
        Assert.Equal(
            Convert.ToHexStringLower(SHA256.HashData(new byte[8 * MiB])),
            await GuestChecks.Sha256Async(served.Vm, device, 8));
    });

    [Theory]
    [InlineData("scsi0")]
    [InlineData("scsi3")]
    [InlineData("blk0")]
    [InlineData("blk1")]
    public Task Zeroing_changes_only_its_range(string disk) => served.Scenario.WatchAsync(async () =>
    {
        string device = await DeviceAsync(disk);
        await GuestChecks.FillAsync(served.Vm, device, 4);
        await served.Vm.CheckAsync(
            $"""
            set -e
            dd if={device} of=/run/before bs=1M count=4 iflag=direct
            dd if=/dev/zero of=/run/before bs=4096 seek=300 count=500 conv=notrunc
            blkdiscard -f -z -o {300 * 4096} -l {500 * 4096} {device}
            dd if={device} of=/run/after bs=1M count=4 iflag=direct
            cmp /run/before /run/after
            rm /run/before /run/after
            """);
    });

    [Fact]
    public Task The_tools_of_sg3_utils_get_the_answers_they_expect() => served.Scenario.WatchAsync(async () =>
    {
        string disk = await DeviceAsync("scsi0");
        await served.Vm.CheckAsync(
            $"""
            set -e
            sg_turs {disk}
            sg_inq {disk}
            sg_vpd --page=sv {disk}
            for page in $(sg_vpd --page=sv --raw {disk} | xxd -p -c 1 | tail -n +5); do sg_vpd --page=0x$page {disk}; done
            sg_luns {disk}
            sg_readcap {disk}
            sg_readcap --long {disk}
            sg_modes --all {disk}
            sg_requests {disk}
            sg_start --start {disk}
            sg_sync {disk}
            sg_sync --16 {disk}
            sg_unmap --force --lba=0 --num=8 {disk}
            sg_write_same --lba=8 --num=8 --xferlen=512 --in=/dev/zero {disk}
            sg_reset --device {disk}
            # A reset leaves a unit attention (exit code 6) for the first command after it, and no more than that.
            sg_turs {disk} || [ $? = 6 ]
            sg_turs {disk}
            """);
        // An LBA behind the end is refused, and the disk goes on.
        CommandResult beyond = await served.Vm.RunAsync($"sg_raw -r 512 {disk} 28 00 ff ff ff f0 00 00 01 00");
        Assert.NotEqual(0, beyond.ExitCode);
        Assert.Contains("Logical block address out of range", beyond.Output, StringComparison.OrdinalIgnoreCase);
        await served.Vm.CheckAsync($"sg_turs {disk}");
    });

    [Fact]
    public Task A_reboot_finds_the_disks_and_their_data_again() => served.Scenario.WatchAsync(async () =>
    {
        string onBlk = await GuestChecks.FillAsync(served.Vm, "/dev/vda", 4);
        string onScsi = await GuestChecks.FillAsync(served.Vm, await DeviceAsync("scsi0"), 4);
        await served.Vm.RebootAsync();
        await served.Vm.WaitForDisksAsync(ServedGuest.DiskCount);
        Assert.Equal(onBlk, await GuestChecks.Sha256Async(served.Vm, "/dev/vda", 4));
        Assert.Equal(onScsi, await GuestChecks.Sha256Async(served.Vm, await DeviceAsync("scsi0"), 4));
        await served.Vm.CheckAsync(Fio.Verify("/dev/vdb", 4));
    });

    [Fact]
    public Task With_an_idle_guest_vhostd_uses_less_than_one_percent_of_a_cpu() => served.Scenario.WatchAsync(async () =>
    {
        // There is a window without work; a thread that polls never lets one come. The first ones may still see the compiler at what has just run.
        var window = TimeSpan.FromSeconds(5);
        TimeSpan used = window;
        for (int i = 0; i < 12 && used >= window / 100; i++)
        {
            TimeSpan before = CpuTime(served.Vhostd.Id);
            await Task.Delay(window, TestContext.Current.CancellationToken);
            used = CpuTime(served.Vhostd.Id) - before;
            TestContext.Current.TestOutputHelper?.WriteLine($"{used.TotalMilliseconds} ms of CPU in {window.TotalSeconds} s");
        }

        Assert.True(used < window / 100, $"vhostd used {used.TotalMilliseconds} ms of CPU in {window.TotalSeconds} s without a request");
    });

    private static TimeSpan CpuTime(int process)
    {
        // Fields 14 and 15 of proc(5), in ticks of 10 ms; the program's name in field 2 may hold blanks.
        string stat = File.ReadAllText($"/proc/{process}/stat");
        string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        return TimeSpan.FromMilliseconds(10 * (long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture)));
    }

    private static long AllocatedBytes(string file)
    {
        string blocks = TestEnvironment.RunToEnd("stat", ["--format=%b", file], TimeSpan.FromSeconds(60));
        return long.Parse(blocks, CultureInfo.InvariantCulture) * 512;
    }

    private string HostFile(string disk) => disk == "scsi3" ? served.ScsiFile : served.BlkFile;

    private async Task<string> DeviceAsync(string disk) => disk switch
    {
        "blk0" => "/dev/vda",
        "blk1" => "/dev/vdb",
        _ => (await GuestChecks.ScsiDisksAsync(served.Vm))[disk[^1] - '0'],
    };
}
