namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>The QEMU that a guest runs on.</summary>
internal enum QemuRelease
{
    /// <summary>QEMU 7.2, of Debian 12: vhost-user-blk reconnects by itself, vhost-user-scsi does not.</summary>
    Bookworm,

    /// <summary>QEMU 11.1, of Debian 13's backports: both reconnect.</summary>
    Trixie,
}

/// <summary>A vhost-user device of a guest.</summary>
/// <param name="Model">The QEMU device, for example <c>vhost-user-scsi-pci</c>.</param>
/// <param name="Socket">The socket of the server.</param>
/// <param name="Properties">Further properties of the device, for example <c>num-queues=2</c>; empty for none.</param>
/// <param name="Reconnect">Whether QEMU connects again when the server goes away.</param>
internal sealed record VhostUserDevice(string Model, string Socket, string Properties = "", bool Reconnect = false)
{
    /// <summary>A vhost-user-scsi device.</summary>
    public static VhostUserDevice Scsi(string socket, string properties = "", bool reconnect = false) =>
        new("vhost-user-scsi-pci", socket, properties, reconnect);

    /// <summary>A vhost-user-blk device.</summary>
    public static VhostUserDevice Blk(string socket, string properties = "", bool reconnect = false) =>
        new("vhost-user-blk-pci", socket, properties, reconnect);
}

/// <summary>What a guest is made of.</summary>
internal sealed record GuestVmOptions
{
    /// <summary>The QEMU to use.</summary>
    public QemuRelease Qemu { get; init; }

    /// <summary>The vhost-user devices, in the order of their PCI slots; device n has the QEMU id <c>diskN</c>.</summary>
    public IReadOnlyList<VhostUserDevice> Disks { get; init; } = [];

    /// <summary>Emulated CPUs.</summary>
    public int Cpus { get; init; } = 2;

    /// <summary>Memory at start, in MiB.</summary>
    public int MemoryMiB { get; init; } = 512;

    /// <summary>The file that is the memory at start; null for a memfd.</summary>
    public string? MemoryFile { get; init; }

    /// <summary>Memory that can be plugged in later, in MiB; 0 for none.</summary>
    public int HotplugMemoryMiB { get; init; }

    /// <summary>Words added to the kernel's command line.</summary>
    public string KernelArguments { get; init; } = "";

    /// <summary>Further arguments of QEMU.</summary>
    public IReadOnlyList<string> ExtraArguments { get; init; } = [];
}
