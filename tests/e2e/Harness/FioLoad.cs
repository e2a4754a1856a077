using System.Globalization;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>fio that writes and compares for as long as a test wants, in the background of a guest.</summary>
internal static class FioLoad
{
    /// <summary>Starts it on a disk. Each block that was read back is compared while the load goes on, and all of the last pass at its end.</summary>
    public static Task StartAsync(GuestVm vm, string disk) => vm.CheckAsync(
        $$"""
        cat > /run/load-{{Path.GetFileName(disk)}} <<'END'
        fio --name=load --filename={{disk}} --ioengine=libaio --direct=1 --rw=randwrite --bs=4096 --iodepth=8 --size=8M --loops=100000 \
          --verify=crc32c --verify_backlog=128 --verify_fatal=1
        echo "exit code $?"
        END
        setsid bash /run/load-{{Path.GetFileName(disk)}} > /run/log-{{Path.GetFileName(disk)}} 2>&1 < /dev/null &
        """);

    /// <summary>Ends it, checks that it saw neither an error nor a wrong block, and verifies another part of each disk.</summary>
    public static async Task EndAsync(GuestVm vm, IReadOnlyList<string> disks)
    {
        // Interrupted, fio ends what is under way and reports; a block that was wrong, or a request that failed, would have ended it before.
        string[] logs = [.. disks.Select(disk => $"/run/log-{Path.GetFileName(disk)}")];
        Assert.DoesNotContain("exit code", await vm.CheckAsync($"cat {string.Join(' ', logs)}"), StringComparison.Ordinal);
        await vm.CheckAsync("for p in $(pidof fio); do kill -INT $p; done; true");
        foreach (string log in logs)
        {
            await Deadline.UntilAsync("fio has ended", TimeSpan.FromSeconds(180), async () =>
                (await vm.CheckAsync($"cat {log}")).Contains("exit code", StringComparison.Ordinal));
            string output = await vm.CheckAsync($"cat {log}");
            Assert.Contains("err= 0", output, StringComparison.Ordinal);
            Assert.Matches("exit code (0|128)", output);
        }

        foreach (string disk in disks)
        {
            await vm.CheckAsync(Fio.Verify(disk, 4, more: "--offset=16M"), TimeSpan.FromSeconds(180));
        }
    }

    /// <summary>Waits until so many more writes of each disk have completed.</summary>
    public static async Task WaitForWritesAsync(GuestVm vm, IReadOnlyList<string> disks, int count)
    {
        long[] before = await WrittenAsync(vm, disks);
        await Deadline.UntilAsync($"{count} writes of {string.Join(", ", disks)}", TimeSpan.FromSeconds(180), async () =>
            (await WrittenAsync(vm, disks)).Zip(before).All(pair => pair.First >= pair.Second + count));
    }

    /// <summary>The writes of each disk that completed so far.</summary>
    public static async Task<long[]> WrittenAsync(GuestVm vm, IReadOnlyList<string> disks)
    {
        string stat = await vm.CheckAsync(string.Join("; ", disks.Select(d => $"cat /sys/block/{Path.GetFileName(d)}/stat")), TimeSpan.FromSeconds(120));
        return [.. stat.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[4], CultureInfo.InvariantCulture))];
    }
}
