using Vhost.Linux;

namespace Vhost.Pci.Inventory;

/// <summary>Which block devices a PCI function has, and whether this machine uses them.</summary>
internal sealed class BlockDeviceUsage
{
    private readonly PciPaths _paths;
    private readonly HashSet<string> _mounted = [];
    private readonly HashSet<string> _swaps = [];
    private readonly List<(string Name, string Path)> _blocks = [];

    public BlockDeviceUsage(PciPaths paths)
    {
        _paths = paths;
        foreach (string line in Lines("self/mountinfo"))
        {
            // The third field is major:minor (proc_pid_mountinfo(5)).
            if (line.Split(' ') is [_, _, var device, ..])
            {
                _mounted.Add(device);
            }
        }

        foreach (string line in Lines("swaps").Skip(1))
        {
            _swaps.Add(Path.GetFileName(line.Split([' ', '\t'])[0]));
        }

        string directory = Path.Combine(paths.Sys, "class/block");
        foreach (string entry in Directory.Exists(directory) ? Directory.EnumerateFileSystemEntries(directory) : [])
        {
            _blocks.Add((Path.GetFileName(entry), Resolve(entry)));
        }
    }

    /// <summary>The names of the block devices on a function, with partitions, in order.</summary>
    public IReadOnlyList<string> On(string deviceDirectory)
    {
        string real = Resolve(deviceDirectory);
        var names = new SortedSet<string>(StringComparer.Ordinal);
        var roots = new List<string> { real };
        roots.AddRange(MultipathHeads(real));
        foreach ((string name, string path) in _blocks)
        {
            if (roots.Any(root => path.StartsWith(root + "/", StringComparison.Ordinal)))
            {
                names.Add(name);
            }
        }

        return [.. names];
    }

    /// <summary>Why a block device is in use, or null.</summary>
    public string? WhyInUse(string name)
    {
        string path = _blocks.First(b => b.Name == name).Path;
        string number = Path.Combine(path, "dev");
        if (File.Exists(number) && _mounted.Contains(File.ReadAllText(number).Trim()))
        {
            return $"{name} is mounted";
        }

        if (_swaps.Contains(name))
        {
            return $"{name} is swap space";
        }

        string holders = Path.Combine(path, "holders");
        if (Directory.Exists(holders) && Directory.EnumerateFileSystemEntries(holders).Select(Path.GetFileName).FirstOrDefault() is { } holder)
        {
            return $"{name} is part of {holder}";
        }

        // What another mount namespace, a RAID or a virtual machine holds shows here: the kernel refuses a second exclusive user.
        string node = Path.Combine(_paths.Dev, name);
        if (File.Exists(node) && FileStatus.Of(node).Kind == FileKind.BlockDevice)
        {
            try
            {
                FileIo.Open(node, OpenMode.ReadOnly | OpenMode.Exclusive).Dispose();
            }
            catch (LinuxException e) when (e.Error == Errno.EBUSY)
            {
                return $"{name} is held exclusively by somebody";
            }
            catch (LinuxException e)
            {
                return $"whether {name} is in use cannot be found out: {e.Message}";
            }
        }

        return null;
    }

    /// <summary>With native multipath an NVMe namespace hangs below its subsystem, not below the function.</summary>
    private IEnumerable<string> MultipathHeads(string deviceDirectory)
    {
        string subsystems = Path.Combine(_paths.Sys, "class/nvme-subsystem");
        string controllers = Path.Combine(deviceDirectory, "nvme");
        if (!Directory.Exists(subsystems) || !Directory.Exists(controllers))
        {
            yield break;
        }

        string[] names = [.. Directory.EnumerateDirectories(controllers).Select(d => Path.GetFileName(d)!)];
        foreach (string subsystem in Directory.EnumerateDirectories(subsystems))
        {
            if (names.Any(n => Directory.Exists(Path.Combine(subsystem, n))))
            {
                yield return Resolve(subsystem);
            }
        }
    }

    private static string Resolve(string path)
    {
        // The last link is what counts: entries of class and bus directories are links to real directories.
        FileSystemInfo? target = new DirectoryInfo(path).ResolveLinkTarget(returnFinalTarget: true);
        return Path.GetFullPath(target?.FullName ?? path);
    }

    private IEnumerable<string> Lines(string name)
    {
        string path = Path.Combine(_paths.Proc, name);
        return File.Exists(path) ? File.ReadAllLines(path) : [];
    }
}
