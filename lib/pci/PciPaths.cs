namespace Vhost.Pci;

/// <summary>Where the kernel's files are; other places than the usual ones serve tests.</summary>
public sealed record PciPaths
{
    /// <summary>Where sysfs is mounted.</summary>
    public string Sys { get; init; } = "/sys";

    /// <summary>Where the device nodes are.</summary>
    public string Dev { get; init; } = "/dev";

    /// <summary>Where proc is mounted.</summary>
    public string Proc { get; init; } = "/proc";

    internal string Device(PciAddress address) => Path.Combine(Sys, "bus/pci/devices", address.ToString());

    internal string Driver(string name) => Path.Combine(Sys, "bus/pci/drivers", name);

    /// <summary>The last part of where a symbolic link points, or null where there is none.</summary>
    internal static string? LinkName(string path) =>
        new FileInfo(path).LinkTarget is { Length: > 0 } target ? Path.GetFileName(target.TrimEnd('/')) : null;
}
