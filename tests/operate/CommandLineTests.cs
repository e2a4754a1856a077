using System.Text.Json.Nodes;

namespace Vhost.Operate.Tests;

/// <summary>The command line of the real program.</summary>
public sealed class CommandLineTests
{
    [Fact]
    public async Task It_starts_as_SPDKs_vhost_and_serves_the_published_guides_calls()
    {
        await using var vhostd = await Vhostd.StartAsync("-T", "unix", "-s", "512");
        var disk = Path.Combine(vhostd.Directory, "disk.img");
        await File.WriteAllBytesAsync(disk, new byte[4 << 20], TestContext.Current.CancellationToken);
        var (code, output, error) = await Vhostd.RunProgramAsync("python3", Path.Combine(AppContext.BaseDirectory, "fixtures/nine_calls.py"), vhostd.RpcSocket, disk, "0x" + Mask());
        Assert.Equal((0, "all calls are answered as SPDK answers them\n", ""), (code, output, error));

        await vhostd.RpcAsync("vhost_create_scsi_controller", "ctrlr=vhost.7");
        Assert.True(File.Exists(Path.Combine(vhostd.Directory, "vhost.7")));
        await vhostd.StopAsync();
        Assert.False(File.Exists(vhostd.RpcSocket));
        Assert.False(File.Exists(Path.Combine(vhostd.Directory, "vhost.7")));

        static string Mask() => (1L << int.Parse(Vhostd.Cpumask.Trim('[', ']'), System.Globalization.CultureInfo.InvariantCulture)).ToString("x", System.Globalization.CultureInfo.InvariantCulture);
    }

    [Theory]
    [InlineData("a command is expected")]
    [InlineData("needs -S", "-T", "vvu")]
    [InlineData("for a vvu device add -T vvu", "-S", "0000:00:07.0")]
    [InlineData("there is no such directory", "-S", "/no/such/directory")]
    [InlineData("for a start without a manifest", "-m", "0x1", "status")]
    [InlineData("reactors.cpumask", "-S", "/tmp", "-m", "0xg")]
    [InlineData("Argument 'x' not recognized", "-T", "x")]
    [InlineData("nosuch", "nosuch")]
    public async Task A_wrong_start_says_what_would_be_right_and_starts_nothing(string says, params string[] arguments)
    {
        var (code, _, error) = await Vhostd.RunAsync(arguments);
        Assert.Equal(2, code);
        Assert.Contains(says, error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_serves_no_RPC_unless_asked()
    {
        var directory = Vhostd.NewDirectory();
        var manifest = Path.Combine(directory, "vhostd.json");
        await File.WriteAllTextAsync(manifest, "{}", TestContext.Current.CancellationToken);
        using var process = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo(Vhostd.Program, ["run", manifest]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        try
        {
            var error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            Assert.StartsWith("vhostd is ready", await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
            // What a process listens on is in its table of unix sockets by its inodes.
            var inodes = Directory.GetFiles($"/proc/{process.Id}/fd").Select(file => new FileInfo(file).LinkTarget).Where(target => target?.StartsWith("socket:", StringComparison.Ordinal) == true)
                .Select(target => target![8..^1]).ToHashSet();
            Assert.DoesNotContain(File.ReadLines("/proc/net/unix").Skip(1).Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)), 
                // The runtime's own, for debuggers of the same user.
                fields => fields.Length > 7 && inodes.Contains(fields[6]) && !fields[7].Contains("dotnet-diagnostic", StringComparison.Ordinal));
            process.Kill();
            Assert.DoesNotContain("JSON-RPC", await error, StringComparison.Ordinal);
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill();
            }

            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public async Task Status_health_top_and_bench_tell_of_a_running_vhostd()
    {
        await using var vhostd = await Vhostd.StartAsync();
        var socket = await vhostd.AddNullDiskAsync();

        var (code, tree, _) = await Vhostd.RunAsync("status", "-s", vhostd.RpcSocket);
        Assert.Equal(0, code);
        Assert.Contains($"├─ vhost-user {socket}: listening\n│  └─ blk controller vhost.0\n│     └─ bdev: N0, Null disk, 64 MiB,", tree, StringComparison.Ordinal);
        Assert.Equal((0, "healthy\n", ""), await Vhostd.RunAsync("health", "-s", vhostd.RpcSocket));
        var health = JsonNode.Parse((await Vhostd.RunAsync("health", "-s", vhostd.RpcSocket, "--json")).Output)!;
        Assert.True(health["healthy"]!.GetValue<bool>());
        Assert.Equal(1, (await Vhostd.RunAsync("health", "-s", vhostd.RpcSocket + ".none")).Code);

        // By the controller's name: its device type and socket come from vhostd. The client sleeps, as both share a machine. On a slow one it may have ended
        // before top's last look: then it runs longer.
        (int Code, string Output, string Error) loadResult, twoViews, oneView;
        for (var seconds = 4; ; seconds *= 4)
        {
            var before = await ReadsAsync();
            var bench = Vhostd.RunAsync("bench", "vhost.0", "-s", vhostd.RpcSocket, "--queue-depth", "4", "--seconds", $"{seconds}", "--warm-up", "0.1", "--interrupt", "--json");
            await Vhostd.WaitForAsync(async () => bench.IsCompleted || await ReadsAsync() > before, "reads of the load generator");
            twoViews = await Vhostd.RunAsync("top", "-s", vhostd.RpcSocket, "-n", "2", "-i", "0.3", "--json");
            oneView = await Vhostd.RunAsync("top", "-s", vhostd.RpcSocket, "-n", "1", "-i", "0.2");
            var isLoaded = !bench.IsCompleted;
            loadResult = await bench;
            if (isLoaded || seconds > 60)
            {
                break;
            }
        }

        var (benchCode, result, benchError) = loadResult;
        var (topCode, lines, topError) = twoViews;
        var (textCode, text, _) = oneView;
        Assert.Equal((0, ""), (topCode, topError));
        var views = lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonNode.Parse(line)!).ToArray();
        Assert.Equal(2, views.Length);
        Assert.All((string[])["controllers", "bdevs"], key =>
        {
            var row = views[0][key]!.AsArray().Single()!;
            Assert.True(row["reads_per_second"]!.GetValue<double>() > 0);
            Assert.Equal(row["reads_per_second"]!.GetValue<double>() * 4096, row["read_bytes_per_second"]!.GetValue<double>(), row["read_bytes_per_second"]!.GetValue<double>() / 1e6);
            Assert.Equal(0, row["writes_per_second"]!.GetValue<double>());
        });
        Assert.InRange(views[0]["reactors"]![0]!["busy_percent"]!.GetValue<double>(), 0.001, 100);
        Assert.Equal(0, textCode);
        Assert.DoesNotContain('\e', text);
        Assert.Contains("CONTROLLER", text, StringComparison.Ordinal);
        Assert.Contains("\nvhost.0 ", text, StringComparison.Ordinal);

        Assert.True(benchCode == 0, benchError);
        Assert.True(JsonNode.Parse(result)!["result"]!["requests"]!.GetValue<long>() > 0);
        Assert.Equal(2, (await Vhostd.RunAsync("bench", "vhost.9", "-s", vhostd.RpcSocket)).Code);
        Assert.Contains("--queue-depth", (await Vhostd.RunAsync("bench", "--list-options")).Output, StringComparison.Ordinal);
        await vhostd.StopAsync();

        async Task<long> ReadsAsync() => (await vhostd.RpcAsync("vhostd_get_status"))!["controllers"]![0]!["reads"]!.GetValue<long>();
    }

    [Fact]
    public async Task Top_fits_its_terminal_follows_its_size_and_ends_at_q()
    {
        await using var vhostd = await Vhostd.StartAsync("-T", "unix");
        await vhostd.RpcAsync("bdev_null_create", "name=N0", "num_blocks=131072", "block_size=512");
        await vhostd.RpcAsync("vhost_create_blk_controller", "ctrlr=a-controller-with-a-rather-long-name", "dev_name=N0");
        Assert.Equal((0, "as it should be\n", ""), await Vhostd.RunProgramAsync("python3", Path.Combine(AppContext.BaseDirectory, "fixtures/top_terminal.py"), Vhostd.Program, vhostd.RpcSocket));
        await vhostd.StopAsync();
    }

    [Theory]
    [InlineData("vhostd st", "status")]
    [InlineData("vhostd rpc bdev_null_", "bdev_null_create bdev_null_delete bdev_null_resize")]
    [InlineData("vhostd rpc bdev_null_create num", "num_blocks=")]
    [InlineData("vhostd top --j", "--json")]
    [InlineData("vhostd completion z", "zsh")]
    public async Task The_shell_completes(string line, string expected)
    {
        var words = line.Split(' ');
        var script = $"PATH={Vhostd.ProgramDirectory}:$PATH; source <(vhostd completion bash); COMP_LINE='{line}' COMP_POINT={line.Length} COMP_WORDS=({line}) COMP_CWORD={words.Length - 1}; _vhostd; echo \"${{COMPREPLY[@]}}\"";
        Assert.Equal((0, expected + "\n", ""), await Vhostd.RunProgramAsync("bash", "-c", script));
    }
}
