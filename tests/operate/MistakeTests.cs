using System.Text;

namespace Vhost.Operate.Tests;

/// <summary>What a person who errs is told: what is wrong and what would be right, in few lines, and by the exit code.</summary>
public sealed class MistakeTests
{
    [Theory]
    [InlineData(2, "there is no command \"stats\"; did you mean \"status\"?", "stats")]
    [InlineData(2, "\"vhostd pci bind --help\" shows", "pci", "bind")]
    [InlineData(2, "error: a method is expected", "rpc")]
    [InlineData(2, "did you mean \"bdev_get_bdevs\"?", "rpc", "bdev_get_bdev")]
    [InlineData(2, "methods like it: bdev_delay_create, bdev_delay_delete, bdev_delay_update_latency", "rpc", "bdev_delay")]
    [InlineData(1, "there is no such socket; is vhostd running with --rpc-socket /no/such.sock?", "status", "-s", "/no/such.sock")]
    public async Task One_error_says_what_would_be_right(int code, string says, params string[] arguments)
    {
        var (actual, output, error) = await Vhostd.RunAsync(arguments);
        Assert.Equal((code, ""), (actual, output));
        Assert.Contains(says, error, StringComparison.Ordinal);
        Assert.InRange(error.Split('\n').Length, 2, 5);
        Assert.InRange(error.Length, 20, 700);
    }

    [Fact]
    public async Task A_path_that_no_socket_can_have_is_an_error_and_no_crash()
    {
        var (code, _, error) = await Vhostd.RunAsync("health", "-s", "/tmp/" + new string('x', 200));
        Assert.Equal(1, code);
        Assert.Contains("is no path of a socket: those have 1 to 107 bytes\n", error, StringComparison.Ordinal);
        Assert.Single(error.TrimEnd().Split('\n'));
    }

    [Fact]
    public async Task A_start_that_fails_gives_the_reason_without_a_stack_trace()
    {
        var directory = Vhostd.NewDirectory();
        try
        {
            var manifest = Path.Combine(directory, "vhostd.json");
            await File.WriteAllTextAsync(manifest, """
                { "bdevs": { "M": { "type": "malloc", "sizeMiB": 1 } },
                  "transports": { "t": { "type": "vhost-user", "socket": "/no/such/directory/t" } },
                  "controllers": { "c": { "type": "blk", "transport": "t", "bdev": "M" } } }
                """, TestContext.Current.CancellationToken);
            var (code, _, error) = await Vhostd.RunAsync("run", manifest);
            Assert.Equal(1, code);
            Assert.Contains("/no/such/directory", error, StringComparison.Ordinal);
            Assert.Contains("vhostd[2] Cannot start: transport 't'", error, StringComparison.Ordinal);
            Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
            Assert.DoesNotContain("Microsoft", error, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public async Task A_wrong_manifest_is_not_applied_and_each_fault_is_told_by_its_path()
    {
        await using var vhostd = await Vhostd.StartAsync();
        var manifest = Path.Combine(vhostd.Directory, "wrong.json");
        await File.WriteAllTextAsync(manifest, """{ "bdevs": { "A": { "type": "maloc" }, "B": { "type": "malloc" } }, "other": 1 }""", Encoding.UTF8, TestContext.Current.CancellationToken);
        foreach (var command in (string[][])[["apply", manifest, "-s", vhostd.RpcSocket], ["apply", manifest, "-s", vhostd.RpcSocket, "--check"], ["validate", manifest]])
        {
            var (code, output, error) = await Vhostd.RunAsync(command);
            Assert.Equal((2, ""), (code, output));
            Assert.Contains("bdevs.A.type: unknown type \"maloc\"; did you mean \"malloc\"?", error, StringComparison.Ordinal);
            Assert.Contains("bdevs.B: \"sizeMiB\" is missing: a whole number from 1 to ", error, StringComparison.Ordinal);
            Assert.Contains("other: unknown key", error, StringComparison.Ordinal);
            Assert.DoesNotContain("ManifestError", error, StringComparison.Ordinal);
        }

        Assert.Empty((await vhostd.RpcAsync("bdev_get_bdevs"))!.AsArray());
        await vhostd.StopAsync();
    }
}
