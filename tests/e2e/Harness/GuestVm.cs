using System.Net.Sockets;
using System.Text.Json.Nodes;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>A Linux guest on an emulated machine (<c>accel=tcg</c>) with vhost-user disks.</summary>
internal sealed class GuestVm : IAsyncDisposable, IDiagnosable
{
    private const int SegmentationFault = 128 + 11;
    private static readonly TimeSpan BootTimeout = TimeSpan.FromSeconds(300);
    private static readonly TimeSpan CommandTimeout = TimeSpan.FromSeconds(180);

    private readonly ChildProcess _qemu;
    private readonly GuestAgent _agent;
    private readonly string _directory;
    private readonly GuestBoot _boot;
    private readonly string _name;
    private bool _disposed;

    private GuestVm(string name, string directory, ChildProcess qemu, GuestAgent agent, QmpClient qmp)
    {
        _name = name;
        _directory = directory;
        _boot = new GuestBoot(FirmwareLog(directory), ConsoleLog(directory));
        _qemu = qemu;
        _agent = agent;
        Qmp = qmp;
    }

    /// <summary>QEMU's monitor.</summary>
    public QmpClient Qmp { get; }

    /// <summary>Starts QEMU in a scenario and waits until the guest takes commands.</summary>
    public static async Task<GuestVm> StartAsync(Scenario scenario, GuestVmOptions options, string name = "guest")
    {
        GuestVm vm = await LaunchAsync(scenario, options, name);
        if (await vm.FailsBeforeDisksAsync() is { } failure)
        {
            Console.WriteLine($"{name} {failure} at a point where no disk is in use; it is started once more\n{vm.Diagnose()}");
            await vm.DisposeAsync();
            vm = await LaunchAsync(scenario, options, name);
        }

        scenario.Add(vm);
        await vm.WaitForReadyAsync();
        return vm;
    }

    /// <summary>Starts QEMU in a scenario to wait for a guest that migrates to it.</summary>
    public static async Task<GuestVm> StartIncomingAsync(Scenario scenario, GuestVmOptions options, string name, string uri) => scenario.Add(await LaunchAsync(
        scenario, options with { ExtraArguments = [.. options.ExtraArguments, "-incoming", uri] }, name, Random.Shared.Next(1000, 1_000_000)));

    /// <summary>Migrates the guest to a QEMU that waits for it; this one is of no use afterwards.</summary>
    public async Task MigrateAsync(string uri, TimeSpan timeout)
    {
        // Between two processes of one machine nothing is gained by sparing the network.
        await Qmp.ExecuteAsync("migrate-set-parameters", new JsonObject { ["max-bandwidth"] = 8L << 30, ["downtime-limit"] = 3000 });
        await Qmp.ExecuteAsync("migrate", new JsonObject { ["uri"] = uri });
        string status = "";
        await Deadline.UntilAsync("the migration has ended", timeout, async () =>
        {
            status = (string?)(await Qmp.ExecuteAsync("query-migrate"))?["status"] ?? "";
            return status is "completed" or "failed" or "cancelled";
        });
        if (status != "completed")
        {
            throw new EndToEndException($"the migration {status}: {(await Qmp.ExecuteAsync("query-migrate"))?.ToJsonString()}");
        }
    }

    /// <summary>Runs a shell command and returns how it ended.</summary>
    public Task<CommandResult> RunAsync(string command, TimeSpan? timeout = null) => _agent.RunAsync(command, timeout ?? CommandTimeout);

    /// <summary>Runs a shell command that has to succeed and returns what it wrote.</summary>
    public async Task<string> CheckAsync(string command, TimeSpan? timeout = null)
    {
        CommandResult result = await RunAsync(command, timeout);
        return result.ExitCode == 0
            ? result.Output
            : throw new EndToEndException($"in {_name}, exit code {result.ExitCode}: {command}\n{result.Output}");
    }

    /// <summary>Waits until the guest has so many disks.</summary>
    public Task WaitForDisksAsync(int count, TimeSpan? timeout = null)
    {
        int seconds = (int)(timeout ?? TimeSpan.FromSeconds(120)).TotalSeconds;
        return CheckAsync($"wait-disks {count} {seconds}", TimeSpan.FromSeconds(seconds + 60));
    }

    /// <summary>Lets the guest's kernel restart the machine, and waits until it takes commands again.</summary>
    public async Task RebootAsync()
    {
        _agent.ExpectStart();
        // The reply to this command is lost with the machine, so nobody waits for it.
        Task<CommandResult> lost = _agent.RunAsync("sync; reboot -f", BootTimeout);
        _ = lost.ContinueWith(static t => t.Exception, TaskScheduler.Default);
        await WaitForReadyAsync();
    }

    /// <summary>Ends QEMU with SIGKILL, as a crash of the host's side would.</summary>
    public void Kill() => _qemu.Kill();

    /// <summary>Plugs in a memory module of a memfd, shared as vhost-user needs it.</summary>
    public async Task PlugMemoryAsync(string id, int sizeMiB)
    {
        await Qmp.ExecuteAsync("object-add", new JsonObject
        {
            ["qom-type"] = "memory-backend-memfd", ["id"] = $"{id}-memory", ["size"] = (long)sizeMiB << 20, ["share"] = true,
        });
        await Qmp.ExecuteAsync("device_add", new JsonObject { ["driver"] = "pc-dimm", ["id"] = id, ["memdev"] = $"{id}-memory" });
    }

    /// <summary>Asks the guest to give a memory module back, waits until it did, and removes it.</summary>
    public async Task UnplugMemoryAsync(string id, TimeSpan timeout)
    {
        await Qmp.ExecuteAsync("device_del", new JsonObject { ["id"] = id });
        await Qmp.WaitForEventAsync("DEVICE_DELETED", timeout);
        await Qmp.ExecuteAsync("object-del", new JsonObject { ["id"] = $"{id}-memory" });
    }

    /// <inheritdoc/>
    public string Diagnose() => $"{_boot.Diagnose(_name)}\n{_qemu.Diagnose()}";

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        if (!_disposed)
        {
            _disposed = true;
            _qemu.Dispose();
            _agent.Dispose();
            Qmp.Dispose();
            Directory.Delete(_directory, recursive: true);
        }

        return ValueTask.CompletedTask;
    }

    private static async Task<GuestVm> LaunchAsync(Scenario scenario, GuestVmOptions options, string name, int firstCommand = 0)
    {
        string directory = Directory.CreateDirectory(scenario.FilePath($"{name}-{Guid.NewGuid():N}"[..(name.Length + 9)])).FullName;
        // QEMU connects to these, so there is nothing to poll for.
        using Socket agentListener = Listen(Path.Combine(directory, "agent"));
        using Socket qmpListener = Listen(Path.Combine(directory, "qmp"));
        string tool = options.Qemu == QemuRelease.Bookworm ? "qemu-bookworm" : "qemu-trixie";
        ChildProcess qemu = ChildProcess.Start($"QEMU of {name}", TestEnvironment.Tool(tool), Arguments(options, directory));
        try
        {
            QmpClient qmp = await QmpClient.ConnectAsync(await AcceptAsync(qmpListener, qemu));
            return new GuestVm(name, directory, qemu, new GuestAgent(await AcceptAsync(agentListener, qemu), firstCommand), qmp);
        }
        catch (Exception e)
        {
            string state = qemu.Diagnose();
            qemu.Dispose();
            throw new EndToEndException($"QEMU of {name} did not start: {e.Message}\n{state}", e);
        }
    }

    private static List<string> Arguments(GuestVmOptions options, string directory)
    {
        string memory = $"{options.MemoryMiB}M";
        List<string> arguments =
        [
            "-nodefaults", "-no-user-config", "-display", "none",
            "-machine", "q35,memory-backend=ram", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", $"{options.Cpus}",
            "-m", options.HotplugMemoryMiB == 0 ? memory : $"{memory},slots=4,maxmem={options.MemoryMiB + options.HotplugMemoryMiB}M",
            "-object", options.MemoryFile is null
                ? $"memory-backend-memfd,id=ram,size={memory},share=on"
                : $"memory-backend-file,id=ram,size={memory},mem-path={options.MemoryFile},share=on",
            "-kernel", TestEnvironment.GuestKernel, "-initrd", TestEnvironment.GuestInitramfs,
            // panic=0: a guest that panics stays as it is, and the message on its console ends up in the failed test's. no_timer_check: at the very start the kernel gives the
            // timer 10 ms to tick, else it takes the interrupt controller for broken and panics, and on a loaded host QEMU's timer is later than that now and then.
            "-append", $"console=ttyS0 panic=0 no_timer_check memhp_default_state=online_movable {options.KernelArguments}",
            "-serial", $"file:{ConsoleLog(directory)}",
            "-chardev", $"file,id=firmware,path={FirmwareLog(directory)}", "-device", "isa-debugcon,iobase=0x402,chardev=firmware",
            "-chardev", $"socket,id=qmp,path={Path.Combine(directory, "qmp")}", "-mon", "chardev=qmp,mode=control",
            "-chardev", $"socket,id=agent,path={Path.Combine(directory, "agent")}",
            "-device", "virtio-serial-pci,max_ports=2", "-device", "virtserialport,chardev=agent,name=vhostd.agent",
        ];
        for (int i = 0; i < options.Disks.Count; i++)
        {
            VhostUserDevice disk = options.Disks[i];
            // QEMU renamed the option: seconds became milliseconds.
            string reconnect = !disk.Reconnect ? "" : options.Qemu == QemuRelease.Bookworm ? ",reconnect=1" : ",reconnect-ms=300";
            string properties = disk.Properties.Length == 0 ? "" : $",{disk.Properties}";
            arguments.AddRange(["-chardev", $"socket,id=disk{i}-socket,path={disk.Socket}{reconnect}"]);
            arguments.AddRange(["-device", $"{disk.Model},id=disk{i},chardev=disk{i}-socket{properties}"]);
        }

        arguments.AddRange(options.ExtraArguments);
        return arguments;
    }

    private static Socket Listen(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        socket.Listen(1);
        return socket;
    }

    private static async Task<Socket> AcceptAsync(Socket listener, ChildProcess qemu)
    {
        using var bound = new CancellationTokenSource(TimeSpan.FromSeconds(120));
        Task<Socket> accepting = listener.AcceptAsync(bound.Token).AsTask();
        if (await Task.WhenAny(accepting, qemu.Exited) != accepting)
        {
            throw new EndToEndException("QEMU ended");
        }

        return await accepting;
    }

    private static string ConsoleLog(string directory) => Path.Combine(directory, "console");

    private static string FirmwareLog(string directory) => Path.Combine(directory, "firmware");

    /// <summary>
    /// Waits until the guest is up, or has failed in a way that is the emulated machine's own: QEMU 7.2 was seen to crash in its firmware, and to stop for ever, once in
    /// many hundred starts each. What it did then; null for all else.
    /// </summary>
    private async Task<string?> FailsBeforeDisksAsync()
    {
        using var bound = new CancellationTokenSource(BootTimeout);
        Task standstill = _boot.StandstillAsync(bound.Token);
        await Task.WhenAny(_agent.Ready, _qemu.Exited, standstill);
        await bound.CancelAsync();
        if (_agent.Ready.IsCompletedSuccessfully || !_boot.IsApartFromDisks)
        {
            return null;
        }

        // The agent's end is seen before QEMU's own when QEMU crashes.
        await Task.WhenAny(_qemu.Exited, standstill, Task.Delay(TimeSpan.FromSeconds(5)));
        if (_qemu.HasExited)
        {
            return _qemu.ExitCode == SegmentationFault ? "was ended by a segmentation fault of QEMU" : null;
        }

        return standstill.IsCompletedSuccessfully && await GuestBoot.RegistersAsync(Qmp) is { } registers ? $"stands still with these registers:\n{registers}\n" : null;
    }

    private async Task WaitForReadyAsync()
    {
        try
        {
            await _agent.Ready.WaitAsync(BootTimeout);
        }
        catch (TimeoutException e)
        {
            string registers = await GuestBoot.RegistersAsync(Qmp) ?? "QEMU does not tell";
            throw new EndToEndException($"{_name} did not boot within {BootTimeout.TotalSeconds:F0} s; registers of its CPUs:\n{registers}", e);
        }
    }
}
