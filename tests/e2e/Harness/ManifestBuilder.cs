using System.Globalization;
using System.Text.Json.Nodes;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>Puts a manifest together. Each controller gets a vhost-user transport of its own, named after it.</summary>
internal sealed class ManifestBuilder
{
    private readonly JsonObject _bdevs = [];
    private readonly JsonObject _transports = [];
    private readonly JsonObject _controllers = [];

    /// <summary>The reactor mode; the default of vhostd when it is not set.</summary>
    public string? ReactorMode { get; init; }

    /// <summary>The CPUs of the reactors; the default of vhostd when it is not set.</summary>
    public string? CpuMask { get; init; }

    /// <summary>Adds a bdev with the options of its section, without <c>type</c>.</summary>
    public ManifestBuilder Bdev(string name, string type, JsonObject options)
    {
        options["type"] = type;
        _bdevs[name] = options;
        return this;
    }

    /// <summary>Adds a malloc bdev.</summary>
    public ManifestBuilder Malloc(string name, int sizeMiB, int blockSize = 512) =>
        Bdev(name, "malloc", new JsonObject { ["sizeMiB"] = sizeMiB, ["blockSize"] = blockSize });

    /// <summary>Adds a null bdev.</summary>
    public ManifestBuilder Null(string name, int sizeMiB, int blockSize = 512) =>
        Bdev(name, "null", new JsonObject { ["sizeMiB"] = sizeMiB, ["blockSize"] = blockSize });

    /// <summary>Adds a file bdev.</summary>
    public ManifestBuilder File(string name, string path, int blockSize = 512) =>
        Bdev(name, "file", new JsonObject { ["path"] = path, ["blockSize"] = blockSize });

    /// <summary>Says that several controllers may use a bdev that was added before.</summary>
    public ManifestBuilder Shared(string bdev)
    {
        _bdevs[bdev]!["shared"] = true;
        return this;
    }

    /// <summary>Adds a scsi controller with the given bdevs as LUN 0 of targets 0, 1, ...</summary>
    public ManifestBuilder Scsi(string name, string socket, params IEnumerable<string> bdevs)
    {
        var targets = new JsonObject();
        int target = 0;
        foreach (string bdev in bdevs)
        {
            targets[(target++).ToString(CultureInfo.InvariantCulture)] = bdev;
        }

        return Controller(name, socket, new JsonObject { ["type"] = "scsi", ["targets"] = targets });
    }

    /// <summary>Adds a blk controller.</summary>
    public ManifestBuilder Blk(string name, string socket, string bdev) =>
        Controller(name, socket, new JsonObject { ["type"] = "blk", ["bdev"] = bdev });

    /// <summary>The manifest.</summary>
    public JsonObject Build()
    {
        var manifest = new JsonObject();
        if (ReactorMode is not null || CpuMask is not null)
        {
            var reactors = new JsonObject();
            if (CpuMask is not null)
            {
                reactors["cpumask"] = CpuMask;
            }

            if (ReactorMode is not null)
            {
                reactors["mode"] = ReactorMode;
            }

            manifest["reactors"] = reactors;
        }

        manifest["bdevs"] = _bdevs.DeepClone();
        manifest["transports"] = _transports.DeepClone();
        manifest["controllers"] = _controllers.DeepClone();
        return manifest;
    }

    private ManifestBuilder Controller(string name, string socket, JsonObject controller)
    {
        controller["transport"] = $"{name}-socket";
        _transports[$"{name}-socket"] = new JsonObject { ["type"] = "vhost-user", ["socket"] = socket };
        _controllers[name] = controller;
        return this;
    }
}
