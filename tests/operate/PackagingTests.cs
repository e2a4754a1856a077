using System.CommandLine;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Vhost.Host.Cli;

namespace Vhost.Operate.Tests;

/// <summary>The Debian package, the unit and the manual page.</summary>
public sealed partial class PackagingTests
{
    [Fact]
    public async Task The_package_has_all_that_a_service_needs_and_its_binary_runs()
    {
        var directory = Vhostd.NewDirectory();
        try
        {
            var (code, output, error) = await Vhostd.RunProgramAsync("bash", Path.Combine(Vhostd.RepositoryRoot, "packaging/make-deb.sh"), "--from", Vhostd.ProgramDirectory, directory);
            Assert.True(code == 0, error);
            var package = output.Trim().Split('\n')[^1];

            var info = (await Vhostd.RunProgramAsync("dpkg-deb", "--field", package)).Output;
            Assert.Contains("Package: vhostd\n", info, StringComparison.Ordinal);
            Assert.Matches(@"Version: \d+\.\d+\.\d+\n", info);
            Assert.Matches(@"Depends: .*libc6", info);
            var listing = (await Vhostd.RunProgramAsync("dpkg-deb", "--contents", package)).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.All(listing, line => Assert.Matches("^[-dl][-rwx]{9} root/root ", line));
            // Nobody but root may write what runs as a service.
            Assert.All(listing.Where(line => line[0] != 'l'), line => Assert.Equal("--", $"{line[5]}{line[8]}"));
            foreach (var file in (string[])
                [
                    "./usr/lib/vhostd/vhostd", "./usr/lib/vhostd/plugins/malloc/malloc.dll", "./usr/lib/vhostd/plugins/vhost-user-transport/vhost-user-transport.dll",
                    "./usr/lib/systemd/system/vhostd.service", "./usr/share/man/man8/vhostd.8.gz", "./usr/share/bash-completion/completions/vhostd", "./etc/vhostd/vhostd.json",
                    "./usr/share/vhostd/vhostd.schema.json", "./usr/share/doc/vhostd/operating.md",
                ])
            {
                Assert.Contains(listing, line => line.EndsWith($" {file}", StringComparison.Ordinal));
            }

            Assert.Contains(listing, line => line.EndsWith(" ./usr/bin/vhostd -> ../lib/vhostd/vhostd", StringComparison.Ordinal));
            Assert.DoesNotContain(listing, line => line.EndsWith(".pdb", StringComparison.Ordinal));

            var tree = Path.Combine(directory, "tree");
            Assert.Equal(0, (await Vhostd.RunProgramAsync("dpkg-deb", "--extract", package, tree)).Code);
            var control = Path.Combine(directory, "control");
            Assert.Equal(0, (await Vhostd.RunProgramAsync("dpkg-deb", "--control", package, control)).Code);
            Assert.Equal("/etc/vhostd/vhostd.json\n", await File.ReadAllTextAsync(Path.Combine(control, "conffiles"), TestContext.Current.CancellationToken));
            foreach (var script in (string[])["postinst", "prerm", "postrm"])
            {
                Assert.Equal((0, "", ""), await Vhostd.RunProgramAsync("sh", "-n", Path.Combine(control, script)));
            }

            // What systemd itself says of the unit: nothing is wrong with it, and little is left open.
            var unit = Path.Combine(tree, "usr/lib/systemd/system/vhostd.service");
            await File.WriteAllTextAsync(unit, (await File.ReadAllTextAsync(unit, TestContext.Current.CancellationToken)).Replace("/usr/lib/vhostd/", $"{tree}/usr/lib/vhostd/", StringComparison.Ordinal), TestContext.Current.CancellationToken);
            var (verifyCode, _, verifyError) = await Vhostd.RunProgramAsync("systemd-analyze", "verify", "--man=no", unit);
            Assert.True(verifyCode == 0 && !verifyError.Contains("vhostd.service", StringComparison.Ordinal), verifyError);
            var (rateCode, rated, _) = await Vhostd.RunProgramAsync("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", unit);
            Assert.True(rateCode == 0, rated);

            var program = Path.Combine(tree, "usr/bin/vhostd");
            Assert.Equal(0, (await Vhostd.RunProgramAsync(program, "version")).Code);
            var (validCode, valid, validError) = await Vhostd.RunProgramAsync(program, "validate", Path.Combine(tree, "etc/vhostd/vhostd.json"));
            Assert.True(validCode == 0, validError);
            Assert.Contains("is valid", valid, StringComparison.Ordinal);

            // The installed binary serves.
            var socket = Path.Combine(directory, "rpc.sock");
            using var served = Process.Start(new ProcessStartInfo(program, ["run", Path.Combine(tree, "etc/vhostd/vhostd.json"), "--set", $"rpc.socket={socket}"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            try
            {
                _ = served.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
                Assert.StartsWith("vhostd is ready", await served.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
                Assert.Equal((0, "healthy\n", ""), await Vhostd.RunProgramAsync(program, "health", "-s", socket));
            }
            finally
            {
                served.Kill();
                await served.WaitForExitAsync(TestContext.Current.CancellationToken);
            }
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void The_unit_gives_no_more_than_is_needed()
    {
        var lines = File.ReadAllLines(Path.Combine(Vhostd.RepositoryRoot, "packaging/vhostd.service")).Where(line => line.Contains('=', StringComparison.Ordinal) && line[0] != '#').ToArray();
        foreach (var wanted in (string[])
            [
                "Type=notify", "User=vhostd", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "ProtectHome=yes", "PrivateDevices=yes", "PrivateTmp=yes",
                "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6", "SystemCallFilter=@system-service", "SystemCallArchitectures=native", "RestrictNamespaces=yes", "IPAddressDeny=any",
            ])
        {
            Assert.Contains(wanted, lines);
        }

        Assert.Contains(lines, line => line.StartsWith("WatchdogSec=", StringComparison.Ordinal));
        Assert.Contains("ExecStart=/usr/lib/vhostd/vhostd run /etc/vhostd/vhostd.json", lines);
        // The runtime compiles while it runs.
        Assert.DoesNotContain("MemoryDenyWriteExecute=yes", lines);
    }

    [Fact]
    public async Task The_manual_page_tells_of_every_command_and_option_and_is_well_formed()
    {
        var (root, _) = VhostdCommand.Create();
        var page = ManCommand.Make(root);
        var plain = page.Replace("\\-", "-", StringComparison.Ordinal);
        foreach (var command in All(root))
        {
            Assert.Contains($"\n.SS {command.Path}", plain, StringComparison.Ordinal);
            Assert.All(command.Command.Options.Where(option => !option.Hidden), option => Assert.Contains($"\\fB{option.Name}\\fR", plain, StringComparison.Ordinal));
        }

        // What roff would take for a request begins only the lines that are meant to.
        Assert.All(plain.Split('\n').Where(line => line.Length > 0 && line[0] is '.' or '\''), line => Assert.Matches(@"^\.(TH|SH|SS|TP|PP|B|I|BI|BR|br|nf|fi)( |$)", line));
        Assert.Equal((0, plain, ""), ((await Vhostd.RunAsync("man")) is var (code, output, error) ? (code, output.Replace("\\-", "-", StringComparison.Ordinal), error) : default));
    }

    [Fact]
    public async Task The_operating_page_and_the_help_tell_of_every_command()
    {
        var (root, _) = VhostdCommand.Create();
        var page = await File.ReadAllTextAsync(Path.Combine(Vhostd.RepositoryRoot, "docs/operating.md"), TestContext.Current.CancellationToken);
        var help = (await Vhostd.RunAsync("--help")).Output;
        Assert.Equal(0, (await Vhostd.RunAsync("--help")).Code);
        foreach (var command in root.Subcommands.Where(command => !command.Hidden))
        {
            Assert.Contains($"`{command.Name}", page, StringComparison.Ordinal);
            Assert.Matches($@"\n  {command.Name}\b", help);
        }

        foreach (Match code in ExitCodeLine().Matches(page))
        {
            Assert.Contains($".B {code.Groups[1].Value}\n", ManCommand.Make(root), StringComparison.Ordinal);
        }
    }

    private static IEnumerable<(string Path, Command Command)> All(Command parent, string path = "vhostd") =>
        parent.Subcommands.Where(command => !command.Hidden).SelectMany(command => All(command, $"{path} {command.Name}").Prepend(($"{path} {command.Name}", command)));

    [GeneratedRegex(@"^\| (\d) \|", RegexOptions.Multiline)]
    private static partial Regex ExitCodeLine();
}
