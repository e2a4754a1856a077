using System.Diagnostics;
using System.Globalization;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.OperateGuest.Tests;

/// <summary>The package and its unit under a real systemd: Debian, booted, vhostd installed there with dpkg.</summary>
public sealed class SystemdTests
{
    private const int DiskMiB = 16;
    private const int Places = 1024;
    private const string Client = "/app/client/appliance-client";

    // The manifest's comments name everything of it but the disks; RPC is where the package has it.
    private const string Rest = """
        "rpc": { "socket": "/run/vhostd/rpc.sock", "defaultTransport": { "type": "vhost-user", "socket": "/run/vhostd/{controller}" } }
        """;

    private const string First = $$"""
        {
          "bdevs": {
            "Disk0": { "type": "file", "path": "/var/lib/vhostd/disk0.img", "create": true, "sizeMiB": 16 },
            "Malloc0": { "type": "malloc", "sizeMiB": 16 }
          },
          "transports": { "vm0": { "type": "vhost-user", "socket": "/run/vhostd/vm0.sock", "mode": "0660" } },
          "controllers": { "vm0": { "type": "scsi", "transport": "vm0", "targets": { "0": "Disk0", "1": "Malloc0" } } },
          {{Rest}}
        }
        """;

    private const string Second = $$"""
        {
          "bdevs": {
            "Disk0": { "type": "file", "path": "/var/lib/vhostd/disk0.img", "create": true, "sizeMiB": 16 },
            "Disk1": { "type": "file", "path": "/var/lib/vhostd/disk1.img", "create": true, "sizeMiB": 16 },
            "Disk2": { "type": "file", "path": "{{SystemdGuest.BlockDevice}}", "direct": true },
            "Malloc0": { "type": "malloc", "sizeMiB": 16 }
          },
          "transports": {
            "vm0": { "type": "vhost-user", "socket": "/run/vhostd/vm0.sock", "mode": "0660" },
            "vm1": { "type": "vhost-user", "socket": "/run/vhostd/vm1.sock", "mode": "0660" },
            "vm2": { "type": "vhost-user", "socket": "/run/vhostd/vm2.sock", "mode": "0660" }
          },
          "controllers": {
            "vm0": { "type": "scsi", "transport": "vm0", "targets": { "0": "Disk0", "1": "Malloc0" } },
            "vm1": { "type": "blk", "transport": "vm1", "bdev": "Disk1" },
            "vm2": { "type": "blk", "transport": "vm2", "bdev": "Disk2" }
          },
          {{Rest}}
        }
        """;

    /// <summary>
    /// Active means that it serves; the sandbox is in force; a reload adds disks; and whatever makes systemd start it again under load (a restart, a kill, a hang that its watchdog
    /// ends) loses no request and no byte, on files and on a block device.
    /// </summary>
    [Fact]
    public async Task The_service_is_what_its_unit_says_and_restarts_kills_and_hangs_under_load_lose_nothing()
    {
        int seed = TestSeed.Get();
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            SystemdGuest guest = await SystemdGuest.StartAsync(scenario, DiskMiB);
            try
            {
                await RunAsync(guest, seed);
            }
            catch
            {
                await guest.JournalAsync();
                throw;
            }
        });
    }

    private static async Task RunAsync(SystemdGuest guest, int seed)
    {
        var clock = Stopwatch.StartNew();
        Tell($"seed {seed}");
        await WrongManifestAsync(guest);
        await guest.ConfigureAsync(First);
        await StartAsync(guest);
        await SandboxAsync(guest);
        Tell($"serves after {clock.Elapsed.TotalSeconds:F0} s");

        // Disks that come by a reload; the one on a block device needs what the drop-in gives, so the service is restarted first.
        string directory = await guest.Vm.CheckAsync("stat --format=%i /run/vhostd");
        await guest.AddDropInAsync("block", $"[Service]\nPrivateDevices=no\nDeviceAllow={SystemdGuest.BlockDevice} rw\nSupplementaryGroups=disk");
        await guest.ExpectAnotherProcessAsync("systemctl restart vhostd");
        string process = await guest.PropertyAsync("MainPID");
        await guest.ConfigureAsync(Second);
        await guest.Vm.CheckAsync("systemctl reload vhostd");
        await Deadline.UntilAsync("the reload has added disks", SystemdGuest.Limit, async () =>
            (await guest.Vm.RunAsync("[ -S /run/vhostd/vm1.sock ] && [ -S /run/vhostd/vm2.sock ]")).ExitCode == 0);
        Assert.Equal(process, await guest.PropertyAsync("MainPID"));

        string[] guests = ["scsi:split:8:/run/vhostd/vm0.sock", "blk:packed:8:/run/vhostd/vm1.sock", "blk:split:4:/run/vhostd/vm2.sock"];
        await guest.StartLoadAsync(Places, seed, guests);
        await guest.WaitForWorkAsync(guests.Length, 0);
        string[] ends =
        [
            "systemctl restart vhostd", "systemctl kill --signal=KILL vhostd",
            // It is stopped, and feeds the watchdog no more.
            "systemctl kill --signal=STOP vhostd",
        ];
        for (int end = 0; end < ends.Length; end++)
        {
            await guest.ExpectAnotherProcessAsync(ends[end]);
            await guest.WaitForWorkAsync(guests.Length, end + 1);
            Tell($"{ends[end]}: all guests are back after {clock.Elapsed.TotalSeconds:F0} s");
        }

        string journal = await guest.JournalAsync();
        Assert.Contains("Watchdog timeout", journal, StringComparison.Ordinal);
        Assert.Contains("status=9/KILL", journal, StringComparison.Ordinal);
        Assert.True(int.Parse(await guest.PropertyAsync("NRestarts"), CultureInfo.InvariantCulture) >= 2);
        // Whoever has the directory mounted finds the new sockets in it.
        Assert.Equal(directory, await guest.Vm.CheckAsync("stat --format=%i /run/vhostd"));
        Tell($"{ends.Length} ends: {await guest.StopLoadAsync()}");

        await guest.Vm.CheckAsync("systemctl stop vhostd", SystemdGuest.Limit);
        Assert.Equal("success", await guest.PropertyAsync("Result"));
        Assert.Equal("inactive", await guest.PropertyAsync("ActiveState"));
        await guest.Vm.CheckAsync("dpkg --remove vhostd && [ ! -e /usr/lib/systemd/system/vhostd.service ] && [ -e /etc/vhostd/vhostd.json ]", SystemdGuest.Limit);
        Tell($"all after {clock.Elapsed.TotalSeconds:F0} s");
    }

    private static void Tell(string line) => TestContext.Current.TestOutputHelper!.WriteLine(line);

    /// <summary>A manifest that is wrong is told, and not tried over and over.</summary>
    private static async Task WrongManifestAsync(SystemdGuest guest)
    {
        await guest.ConfigureAsync("{ \"bdevs\": { \"Disk0\": { \"type\": \"nosuch\" } } }");
        Assert.NotEqual(0, (await guest.Vm.RunAsync("systemctl start vhostd", SystemdGuest.Limit)).ExitCode);
        Assert.Equal("failed", await guest.PropertyAsync("ActiveState"));
        Assert.Equal("2", await guest.PropertyAsync("ExecMainStatus"));
        Assert.Contains("bdevs.Disk0", await guest.JournalAsync(), StringComparison.Ordinal);
    }

    /// <summary>Nobody sees it active before its sockets are there, and then the first connection is served.</summary>
    private static async Task StartAsync(SystemdGuest guest)
    {
        await guest.Vm.CheckAsync(
            """
            systemctl enable --quiet vhostd
            systemctl start --no-block vhostd
            until [ "$(systemctl is-active vhostd)" = active ]; do
              [ "$(systemctl is-active vhostd)" != failed ] || { journalctl --unit=vhostd --no-pager; exit 1; }
            done
            [ -S /run/vhostd/vm0.sock ] && [ -S /run/vhostd/rpc.sock ]
            """,
            SystemdGuest.Limit);
        await guest.JournalAsync();
        Assert.NotEqual("0", await guest.PropertyAsync("MainPID"));
        Assert.Equal("20s", await guest.PropertyAsync("WatchdogUSec"));
        Assert.Contains("controller", await guest.PropertyAsync("StatusText"), StringComparison.Ordinal);
        await guest.Vm.CheckAsync($"{Client} fill /run/vhostd/vm0.sock ram 0:1 1:2", SystemdGuest.Limit);
    }

    /// <summary>What the kernel says of the process: the unit's lines are in force, and it served all the same.</summary>
    private static async Task SandboxAsync(SystemdGuest guest)
    {
        string status = await guest.Vm.CheckAsync("cat /proc/$(systemctl show vhostd --property=MainPID --value)/status");
        foreach (string line in (string[])["CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"])
        {
            Assert.Contains(line, status, StringComparison.Ordinal);
        }

        await guest.Vm.CheckAsync(
            $$"""
            set -e
            process=$(systemctl show vhostd --property=MainPID --value)
            [ "$(stat --format=%U:%G /proc/$process)" = vhostd:vhostd ]
            [ "$(stat --format=%U:%G:%a /var/lib/vhostd)" = vhostd:vhostd:700 ]
            [ "$(stat --format=%U:%G:%a /run/vhostd/vm0.sock)" = vhostd:vhostd:660 ]
            [ "$(stat --format=%U:%G:%a /run/vhostd/rpc.sock)" = vhostd:vhostd:600 ]
            inside="nsenter --target=$process --mount"
            # Not even root may write there, and the machine's disks are not there.
            for place in /etc /usr /var/tmp/.. /boot /sys/fs/cgroup; do ! $inside touch $place/x 2>/dev/null; done
            ! $inside ls {{SystemdGuest.BlockDevice}} 2>/dev/null
            [ -b {{SystemdGuest.BlockDevice}} ]
            $inside ls /dev/null
            systemd-analyze security vhostd --no-pager --threshold=13
            """,
            SystemdGuest.Limit);
        string rated = await guest.Vm.CheckAsync("systemd-analyze security vhostd --no-pager | tail -n 1");
        Tell(rated.Trim());
    }
}
