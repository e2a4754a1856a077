using System.Globalization;
using System.Text.Json.Nodes;

namespace Vhost.Bench;

/// <summary>SPDK's vhost target, set up by its own RPC, on the same CPU as vhostd's reactor.</summary>
internal sealed class SpdkServer : IDisposable
{
    private const int BlockSizeBytes = 512;
    private const int MemoryMiB = 1024;

    private readonly string _directory;
    private readonly string _rpc;

    private SpdkServer(string directory, string rpc, ServerProcess process)
    {
        _directory = directory;
        _rpc = rpc;
        Process = process;
    }

    /// <summary>The process.</summary>
    public ServerProcess Process { get; }

    /// <summary>Starts it.</summary>
    /// <param name="program">The program, <c>vhost</c>.</param>
    /// <param name="directory">A directory for its sockets.</param>
    /// <param name="cpuMask">The CPUs of its reactors.</param>
    public static SpdkServer Start(string program, string directory, string cpuMask)
    {
        Directory.CreateDirectory(directory);
        var rpc = Path.Combine(directory, "spdk.sock");
        var memory = MemoryMiB.ToString(CultureInfo.InvariantCulture);
        return new SpdkServer(directory, rpc, ServerProcess.Start(program, ["-S", directory, "-r", rpc, "-m", cpuMask, "-s", memory, "--no-pci"], rpc));
    }

    /// <summary>Adds a null bdev.</summary>
    public SpdkServer Null(string name, int sizeMiB) => AddBdev("bdev_null_create", name, sizeMiB);

    /// <summary>Adds a malloc bdev.</summary>
    public SpdkServer Malloc(string name, int sizeMiB) => AddBdev("bdev_malloc_create", name, sizeMiB);

    /// <summary>Adds a blk controller.</summary>
    public SpdkServer Blk(string name, string bdev) => Call("vhost_create_blk_controller", new JsonObject { ["ctrlr"] = name, ["dev_name"] = bdev });

    /// <summary>Adds a scsi controller with one target.</summary>
    public SpdkServer Scsi(string name, string bdev) => Call("vhost_create_scsi_controller", new JsonObject { ["ctrlr"] = name })
        .Call("vhost_scsi_controller_add_target", new JsonObject { ["ctrlr"] = name, ["scsi_target_num"] = 0, ["bdev_name"] = bdev });

    /// <summary>The socket of a controller.</summary>
    public string Socket(string controller) => Path.Combine(_directory, controller);

    /// <inheritdoc/>
    public void Dispose() => Process.Dispose();

    private SpdkServer AddBdev(string method, string name, int sizeMiB) =>
        Call(method, new JsonObject { ["name"] = name, ["num_blocks"] = ((long)sizeMiB << 20) / BlockSizeBytes, ["block_size"] = BlockSizeBytes });

    private SpdkServer Call(string method, JsonObject parameters)
    {
        _ = RpcSocket.Call(_rpc, method, parameters);
        return this;
    }
}
