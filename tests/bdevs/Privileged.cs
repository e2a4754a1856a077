using System.Diagnostics;

namespace Vhost.Bdevs.Tests;

/// <summary>What only root can set up: small file systems and loop devices. Undone when disposed.</summary>
internal sealed class Privileged : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly Stack<(string Program, string[] Arguments)> _undo = new();

    public Privileged() =>
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "mounting and loop devices need root");

    /// <summary>Mounts a tmpfs.</summary>
    /// <returns>Its directory.</returns>
    public string MountTmpfs(int sizeKiB)
    {
        var target = Directory.CreateDirectory(_directory.File("tmpfs")).FullName;
        Run("mount", "-t", "tmpfs", "-o", $"size={sizeKiB}k", "tmpfs", target);
        _undo.Push(("umount", [target]));
        return target;
    }

    /// <summary>Makes a loop device over a sparse file.</summary>
    /// <returns>The device's path.</returns>
    public string CreateLoopDevice(string? directory = null, int sizeMiB = 16, int sectorSize = 512)
    {
        var path = Path.Combine(directory ?? _directory.Path, "loop.img");
        using (var file = File.Create(path))
        {
            file.SetLength((long)sizeMiB << 20);
        }

        var device = Run("losetup", "-f", "--show", "-b", $"{sectorSize}", path).Trim();
        _undo.Push(("losetup", ["-d", device]));
        return device;
    }

    public static string Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var output = process.StandardOutput.ReadToEnd();
        var error = process.StandardError.ReadToEnd();
        Assert.True(process.WaitForExit(60_000), $"{program} hangs");
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: {output}{error}");
        return output;
    }

    public void Dispose()
    {
        while (_undo.TryPop(out var step))
        {
            Run(step.Program, step.Arguments);
        }

        _directory.Dispose();
    }
}
