using Microsoft.Extensions.Logging;
using Vhost.Linux;
using Vhost.Pci.Devices;

namespace Vhost.Pci.Dma;

/// <summary>
/// What processes that ended left behind in a hugetlbfs: pages, and a marker for each device that may still write to them. A marker goes when its
/// device was reset, by whoever; the pages go with the last marker. A device may hold a transfer back for any time and carry on with it
/// once it gets bus mastering back, so that bus mastering off alone is not enough where somebody may switch it on again.
/// </summary>
internal sealed partial class AbandonedPages(PciPaths paths, ILogger logger)
{
    /// <summary>Names of directories begin so.</summary>
    public const string DirectoryPrefix = "vhostd-";

    /// <summary>Names of markers begin so; the address follows.</summary>
    public const string MarkerPrefix = "device-";

    /// <summary>Removes what no device can write to any more.</summary>
    /// <param name="mount">The hugetlbfs.</param>
    /// <param name="stopped">A device that this process has just reset.</param>
    public void Sweep(string mount, PciAddress? stopped)
    {
        foreach (string directory in Directory.EnumerateDirectories(mount, DirectoryPrefix + "*"))
        {
            try
            {
                using FileDescriptor file = FileIo.Open(directory, OpenMode.ReadOnly | OpenMode.Directory);
                if (FileLock.TryFlock(file.Raw, exclusive: true) && RemoveMarkers(directory, stopped))
                {
                    Directory.Delete(directory, recursive: true);
                    LogLeftPagesRemoved(logger, directory);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                LogLeftPagesNotRemoved(logger, directory, e.Message);
            }
        }
    }

    // Whether none is left.
    private bool RemoveMarkers(string directory, PciAddress? stopped)
    {
        bool isFree = true;
        foreach (string marker in Directory.EnumerateFiles(directory, MarkerPrefix + "*"))
        {
            string name = Path.GetFileName(marker)[MarkerPrefix.Length..];
            if (PciAddress.TryParse(name, out PciAddress device) && device != stopped && Stop(device, directory) is { } reason)
            {
                LogLeftPagesKept(logger, directory, device.ToString(), reason);
                isFree = false;
            }
            else
            {
                File.Delete(marker);
            }
        }

        return isFree;
    }

    /// <summary>Stops a device for good where that is possible; otherwise says why it may write later.</summary>
    private string? Stop(PciAddress device, string directory)
    {
        string config = Path.Combine(paths.Device(device), "config");
        if (!File.Exists(config))
        {
            return null;
        }

        switch (PciPaths.LinkName(Path.Combine(paths.Device(device), "driver")))
        {
            case "uio_pci_generic" or null:
                return Reset(device, config, directory);
            case "vfio-pci":
                // The kernel resets a device when its last user is gone, and takes bus mastering away.
                using (FileDescriptor file = FileIo.Open(config, OpenMode.ReadOnly))
                {
                    return MayDoDma(file) ? "another process drives it through vfio" : null;
                }

            default:
                // A driver of the kernel's resets a device before it uses it.
                return null;
        }
    }

    private string? Reset(PciAddress device, string config, string directory)
    {
        using FileDescriptor file = FileIo.Open(config, OpenMode.ReadWrite);
        if (!FileLock.TryFlock(file.Raw, exclusive: true))
        {
            return "it is driven by a process that has not reset it yet";
        }

        Span<byte> command = stackalloc byte[2];
        FileIo.ReadExactly(file.Raw, command, PciFunction.CommandOffset);
        command[0] &= unchecked((byte)~PciFunction.CommandBusMaster);
        FileIo.WriteExactly(file.Raw, command, PciFunction.CommandOffset);
        string reset = Path.Combine(paths.Device(device), "reset");
        if (!File.Exists(reset))
        {
            return "the kernel knows no way to reset it";
        }

        using FileDescriptor trigger = FileIo.Open(reset, OpenMode.WriteOnly);
        FileIo.WriteExactly(trigger.Raw, "1"u8, 0);
        if (MayDoDma(file))
        {
            return "its reset left bus mastering on";
        }

        LogLeftDeviceReset(logger, device.ToString(), directory);
        return null;
    }

    private static bool MayDoDma(FileDescriptor config)
    {
        Span<byte> command = stackalloc byte[2];
        FileIo.ReadExactly(config.Raw, command, PciFunction.CommandOffset);
        return (command[0] & PciFunction.CommandBusMaster) != 0;
    }

    [LoggerMessage(EventId = 1404, Level = LogLevel.Information, Message = "{Device}: reset, because the process that left {Directory} behind had driven it")]
    private static partial void LogLeftDeviceReset(ILogger logger, string device, string directory);

    [LoggerMessage(EventId = 1405, Level = LogLevel.Information, Message = "removed {Directory}, which a process that ended left behind")]
    private static partial void LogLeftPagesRemoved(ILogger logger, string directory);

    [LoggerMessage(EventId = 1406, Level = LogLevel.Warning, Message =
        "kept {Directory}, which a process that ended left behind: the device {Device} may still write to its pages ({Reason}); it goes when the device is driven again or given back with 'vhostd pci unbind'")]
    private static partial void LogLeftPagesKept(ILogger logger, string directory, string device, string reason);

    [LoggerMessage(EventId = 1407, Level = LogLevel.Warning, Message = "{Directory} cannot be removed: {Reason}")]
    private static partial void LogLeftPagesNotRemoved(ILogger logger, string directory, string reason);
}
