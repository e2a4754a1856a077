using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Vhost.Host.Loading.Tests;

/// <summary>The real executable: what it prints where, and its exit codes.</summary>
public sealed class CommandLineTests
{
    [Theory]
    [InlineData]
    [InlineData("bogus")]
    [InlineData("run")]
    [InlineData("validate")]
    [InlineData("validate", "a", "b")]
    [InlineData("plugins")]
    [InlineData("plugins", "show")]
    [InlineData("run", "m.json", "--log-level", "loud")]
    public void A_wrong_command_line_is_2_and_says_so_on_standard_error(params string[] arguments)
    {
        (int code, _, string error) = Vhostd.Run(arguments);
        Assert.Equal(2, code);
        Assert.NotEmpty(error);
    }

    [Fact]
    public void Help_has_examples_and_exit_codes()
    {
        (int code, string output, _) = Vhostd.Run("--help");
        Assert.Equal(0, code);
        foreach (string part in new[] { "Examples:", "vhostd validate", "Exit codes: 0 success", "run <MANIFEST>" })
        {
            Assert.Contains(part, output, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Version_names_program_contract_and_runtime()
    {
        Assert.StartsWith("vhostd 0.1.0", Vhostd.Run("version").Output, StringComparison.Ordinal);
        JsonNode json = JsonNode.Parse(Vhostd.Run("version", "--json").Output)!;
        Assert.Equal($"{ContractVersion.Major}.{ContractVersion.Minor}", json["contract"]!.GetValue<string>());
    }

    [Fact]
    public void Plugins_that_come_with_vhostd_are_listed_without_a_problem()
    {
        (int code, string output, string error) = Vhostd.Run("plugins", "list");
        Assert.Equal((0, ""), (code, error));
        foreach (string id in Directory.EnumerateDirectories(Path.Combine(PluginFolder.Metadata("RepositoryRoot"), "plugins"))
            .Where(folder => Directory.EnumerateFiles(folder, "*.csproj").Any()).Select(folder => Path.GetFileName(folder)))
        {
            Assert.Contains($"{Path.DirectorySeparatorChar}{id}.dll", output, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Broken_plugins_are_listed_with_the_good_one_and_the_code_is_1()
    {
        using var folder = new PluginFolder("good", "newer", "throwing");
        (int code, string output, string error) = Vhostd.Run("plugins", "list", "--plugins", folder.Root);
        Assert.Equal(1, code);
        Assert.Contains("bdev rich", output, StringComparison.Ordinal);
        Assert.Contains($"error: plugin newer: the plugin was compiled against contract 1.99, the host offers 1.0 ({folder.FileOf("newer")}). Upgrade vhostd", error, StringComparison.Ordinal);
        Assert.Contains("the licence server is not there", error, StringComparison.Ordinal);

        JsonNode json = JsonNode.Parse(Vhostd.Run("plugins", "list", "--json", "--plugins", folder.Root).Output)!;
        Assert.Equal(["good"], json["plugins"]!.AsArray().Select(plugin => plugin!["id"]!.GetValue<string>()));
        Assert.Equal(["contractTooNew", "compositionFailed"], json["problems"]!.AsArray().Select(problem => problem!["code"]!.GetValue<string>()));
    }

    [Fact]
    public void A_plugin_is_shown_with_its_options()
    {
        using var folder = new PluginFolder("good", "older");
        (int code, string output, _) = Vhostd.Run("plugins", "show", "good", "--plugins", folder.Root);
        Assert.Equal(0, code);
        foreach (string line in new[] { "contract  1.0", "bdev rich: Has an option of every shape.", "  sizeMiB: integer 1..1024 (required)", "      How big it is.", "  colour: \"red\" | \"deepBlue\" (default \"deepBlue\")" })
        {
            Assert.Contains(line, output, StringComparison.Ordinal);
        }

        Assert.Equal(1, Vhostd.Run("plugins", "show", "older", "--plugins", folder.Root).Code);
        (int unknown, _, string error) = Vhostd.Run("plugins", "show", "goood", "--plugins", folder.Root);
        Assert.Equal(2, unknown);
        Assert.Contains("did you mean \"good\"?", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Validate_and_run_refuse_the_same_faults_with_2_and_start_nothing()
    {
        using var folder = new PluginFolder("good");
        string file = Path.Combine(folder.Root, "m.json");
        File.WriteAllText(file, """
            { "bdevs": { "A": { "type": "rich", "sizeMiB": 0 } },
              "transports": { "t": { "type": "link" } } }
            """);
        (int validated, _, string first) = Vhostd.Run("validate", file, "--plugins", folder.Root);
        (int ran, string output, string second) = Vhostd.Run("run", file, "--plugins", folder.Root);
        Assert.Equal((2, 2, ""), (validated, ran, output));
        Assert.Equal(first, second);
        Assert.Contains($"error: {file}:1: bdevs.A.sizeMiB: 0 is not within 1 to 1024", first, StringComparison.Ordinal);
        Assert.Contains($"error: {file}:2: transports.t: \"place\" is missing", first, StringComparison.Ordinal);

        (int json, string text, _) = Vhostd.Run("validate", file, "--json", "--plugins", folder.Root);
        Assert.Equal(2, json);
        Assert.False(JsonNode.Parse(text)!["valid"]!.GetValue<bool>());
        Assert.Equal("bdevs.A.sizeMiB", JsonNode.Parse(text)!["errors"]![0]!["path"]!.GetValue<string>());
    }

    [Fact]
    public void Validate_takes_overrides_of_the_command_line_and_the_environment()
    {
        using var folder = new PluginFolder("good");
        string file = Path.Combine(folder.Root, "m.json");
        File.WriteAllText(file, """{ "bdevs": { "A": { "type": "rich" } } }""");
        Assert.Equal(2, Vhostd.Run("validate", file, "--plugins", folder.Root).Code);
        Assert.Equal(0, Vhostd.Run("validate", file, "--plugins", folder.Root, "--set", "bdevs.A.sizeMiB=1").Code);
        Assert.Equal(0, Vhostd.Run(new Dictionary<string, string> { ["VHOSTD_bdevs__A__sizeMiB"] = "1" }, "validate", file, "--plugins", folder.Root).Code);
    }

    [Theory]
    [InlineData("TERM")]
    [InlineData("INT")]
    public async Task Run_says_when_it_is_ready_and_stops_on_a_signal_within_5_seconds(string signal)
    {
        string directory = Directory.CreateTempSubdirectory("vhostd-run-").FullName;
        try
        {
            string file = Path.Combine(directory, "m.json");
            string socket = Path.Combine(directory, "s");
            await File.WriteAllTextAsync(file, $$"""
                { "bdevs": { "M": { "type": "malloc", "sizeMiB": 1 } },
                  "transports": { "t": { "type": "vhost-user", "socket": "{{socket}}" } },
                  "controllers": { "c": { "type": "blk", "transport": "t", "bdev": "M" } } }
                """, TestContext.Current.CancellationToken);
            using Process process = Vhostd.Start(null, "run", file);
            try
            {
                Task<string> error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
                string? ready = await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(120), TestContext.Current.CancellationToken);
                Assert.True(ready is not null, ready is null ? await Tail(error) : null);
                Assert.Matches("^vhostd is ready: 1 controller, [0-9]+ ms after its start$", ready);
                Assert.True(File.Exists(socket));
                using (Process kill = Process.Start("/bin/kill", ["-" + signal, process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]))
                {
                    await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
                }

                await process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(120), TestContext.Current.CancellationToken);
                Assert.True(process.ExitCode == 0, await Tail(error));
                Assert.False(File.Exists(socket));
                TestContext.Current.TestOutputHelper!.WriteLine(ready!);
            }
            finally
            {
                process.Kill();
            }
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void A_start_that_fails_is_1_and_says_why()
    {
        (int code, string output, string error) = Vhostd.Run("run", WriteTemporary("""
            { "bdevs": { "M": { "type": "malloc", "sizeMiB": 1 } },
              "transports": { "t": { "type": "vhost-user", "socket": "/nowhere/at/all/s" } },
              "controllers": { "c": { "type": "blk", "transport": "t", "bdev": "M" } } }
            """));
        Assert.Equal((1, ""), (code, output));
        Assert.Contains("/nowhere/at/all/s", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Logs_are_json_on_standard_error_where_that_is_asked_for()
    {
        (_, _, string error) = Vhostd.Run("run", "--log-format", "json", WriteTemporary("""
            { "bdevs": { "M": { "type": "malloc", "sizeMiB": 1 } },
              "transports": { "t": { "type": "vhost-user", "socket": "/nowhere/at/all/s" } },
              "controllers": { "c": { "type": "blk", "transport": "t", "bdev": "M" } } }
            """));
        Assert.Contains(error.Split('\n', StringSplitOptions.RemoveEmptyEntries), line => line.StartsWith('{') && JsonNode.Parse(line)!["LogLevel"]!.GetValue<string>() == "Critical");
    }

    private static async Task<string> Tail(Task<string> error) => await error.WaitAsync(TimeSpan.FromSeconds(120), TestContext.Current.CancellationToken);

    private static string WriteTemporary(string json)
    {
        string file = Path.GetTempFileName();
        File.WriteAllText(file, json);
        AppDomain.CurrentDomain.ProcessExit += (_, _) => File.Delete(file);
        return file;
    }
}
