using System.Text.Json.Nodes;

namespace Vhost.Bench;

/// <summary>Puts a manifest together; each controller gets a vhost-user transport at a socket of its name.</summary>
internal sealed class VhostdManifest
{
    private readonly JsonObject _bdevs = [];
    private readonly List<(string Name, JsonObject Section)> _controllers = [];

    /// <summary>The CPUs of the reactors.</summary>
    public string CpuMask { get; init; } = "0x1";

    /// <summary>What idle reactors do; null for the default.</summary>
    public string? Mode { get; init; }

    /// <summary>Where Prometheus scrapes; null for nowhere.</summary>
    public string? Metrics { get; init; }

    /// <summary>The controllers' names.</summary>
    public IReadOnlyList<string> ControllerNames => [.. _controllers.Select(controller => controller.Name)];

    /// <summary>Adds a null bdev.</summary>
    public VhostdManifest Null(string name, int sizeMiB = 1024) => Bdev(name, new JsonObject { ["type"] = "null", ["sizeMiB"] = sizeMiB });

    /// <summary>Adds a malloc bdev.</summary>
    public VhostdManifest Malloc(string name, int sizeMiB) => Bdev(name, new JsonObject { ["type"] = "malloc", ["sizeMiB"] = sizeMiB });

    /// <summary>Adds a file bdev.</summary>
    public VhostdManifest File(string name, string path) => Bdev(name, new JsonObject { ["type"] = "file", ["path"] = path });

    /// <summary>Adds a blk controller.</summary>
    public VhostdManifest Blk(string name, string bdev) => Controller(name, new JsonObject { ["type"] = "blk", ["bdev"] = bdev });

    /// <summary>Adds a scsi controller with one target.</summary>
    public VhostdManifest Scsi(string name, string bdev) => Controller(name, new JsonObject { ["type"] = "scsi", ["targets"] = new JsonObject { ["0"] = bdev } });

    /// <summary>The manifest.</summary>
    /// <param name="directory">Where the sockets are to be.</param>
    public JsonObject Build(string directory)
    {
        var reactors = new JsonObject { ["cpumask"] = CpuMask };
        if (Mode is not null)
        {
            reactors["mode"] = Mode;
        }

        var transports = new JsonObject();
        var controllers = new JsonObject();
        foreach (var (name, section) in _controllers)
        {
            transports[name] = new JsonObject { ["type"] = "vhost-user", ["socket"] = Path.Combine(directory, name) };
            controllers[name] = section.DeepClone();
        }

        var manifest = new JsonObject { ["reactors"] = reactors, ["bdevs"] = _bdevs.DeepClone(), ["transports"] = transports, ["controllers"] = controllers };
        if (Metrics is not null)
        {
            manifest["observe"] = new JsonObject { ["metrics"] = Metrics };
        }

        return manifest;
    }

    private VhostdManifest Bdev(string name, JsonObject section)
    {
        _bdevs[name] = section;
        return this;
    }

    private VhostdManifest Controller(string name, JsonObject section)
    {
        section["transport"] = name;
        _controllers.Add((name, section));
        return this;
    }
}
