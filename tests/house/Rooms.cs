namespace Vhost.House.Tests;

/// <summary>Who may know whom. An arrow that is not here is a fault.</summary>
internal static class Rooms
{
    private static readonly string[] HardwareBdevs = ["nvme", "virtio-scsi"];

    /// <summary>The rooms that a project may refer to, or null where it may refer to all (tests, benchmarks, samples).</summary>
    /// <param name="project">The project file's path.</param>
    public static string[]? Allowed(string project)
    {
        string room = RoomOf(project);
        return room switch
        {
            "abstractions" or "lib/linux" => [],
            "lib/virtio" => ["abstractions", "lib/linux"],
            "lib/vfio-user" => ["lib/linux"],
            "lib/pci" => ["abstractions", "lib/linux", "lib/vfio-user"],
            "lib/virtio-pci" => ["abstractions", "lib/virtio", "lib/pci"],
            "lib/block-controller" => ["abstractions", "lib/linux", "lib/pci"],
            "lib/vhost-user" => ["abstractions", "lib/virtio", "lib/linux"],
            "lib/scsi" => ["abstractions"],
            // The host's project lists shared assemblies in its deps.json, builds the plugins, and brings the load generator that it starts as a program;
            // what its assembly refers to is another test.
            "host" => ["abstractions", "lib/linux", "lib/pci", "lib/vfio-user", "bench", .. Plugins],
            "vvu-device" => ["lib/linux", "lib/vfio-user", "lib/virtio", "lib/vhost-user"],
            _ when room.StartsWith("plugins/", StringComparison.Ordinal) => AllowedToPlugin(room["plugins/".Length..]),
            _ when room.Split('/')[0] is "tests" or "bench" or "samples" => null,
            _ => throw new InvalidOperationException($"{project} is in no room that the table knows"),
        };
    }

    /// <summary>The plugins' rooms.</summary>
    public static string[] Plugins { get; } =
        [.. Repository.With(".csproj").Where(project => project.StartsWith("plugins/", StringComparison.Ordinal)).Select(RoomOf).Distinct()];

    /// <summary>The room that a project is: its folder.</summary>
    public static string RoomOf(string project) => Path.GetDirectoryName(project)!;

    /// <summary>The room of one of the product's own assemblies, or null for others.</summary>
    public static string? RoomOfAssembly(string name) => name switch
    {
        "Vhost.Abstractions" => "abstractions",
        "Vhost.Linux" => "lib/linux",
        "Vhost.Virtio" => "lib/virtio",
        "Vhost.VhostUser" => "lib/vhost-user",
        "Vhost.VfioUser" => "lib/vfio-user",
        "Vhost.Pci" => "lib/pci",
        "Vhost.VirtioPci" => "lib/virtio-pci",
        "Vhost.BlockController" => "lib/block-controller",
        "Vhost.Scsi" => "lib/scsi",
        "vhostd" => "host",
        _ => Plugins.FirstOrDefault(plugin => Path.GetFileName(plugin) == name),
    };

    private static string[] AllowedToPlugin(string id) =>
        id.EndsWith("-transport", StringComparison.Ordinal) ? ["abstractions", "lib/linux", "lib/vhost-user", "lib/virtio", "lib/virtio-pci", "lib/pci"]
        : id.StartsWith("vhost-", StringComparison.Ordinal) ? ["abstractions", "lib/virtio", "lib/scsi"]
        : HardwareBdevs.Contains(id) ? ["abstractions", "lib/linux", "lib/pci", "lib/block-controller", "lib/virtio", "lib/virtio-pci", "lib/scsi"]
        : ["abstractions", "lib/linux"];
}
