using System.Text.Json.Nodes;
using Vhost.Host.Manifest;

namespace Vhost.Host.Rpc;

/// <content>Methods that create and delete bdevs.</content>
internal sealed partial class RpcSurface
{
    private const ulong MebibyteBytes = 1 << 20;

    private static readonly RpcParameter BdevName = Required("name", RpcType.String, "The bdev's name.");
    private static readonly RpcParameter SourceName = Required("name", RpcType.String, "The name of the source of bdevs; theirs begin with it.");

    private IEnumerable<RpcMethod> BdevMethods() =>
    [
        new(
            RpcGroup.Bdevs,
            "bdev_malloc_create",
            ["construct_malloc_bdev"],
            [
                Required("num_blocks", RpcType.UInt64, "Number of blocks. num_blocks * block_size is a whole number of MiB."),
                Required("block_size", RpcType.UInt32, "Block size in bytes: a power of two from 512 to 65536."),
                Optional("name", RpcType.String, "The bdev's name. Default: Malloc and the least free number."),
                Optional("uuid", RpcType.String, "UUID that guests see."),
            ],
            "name of the bdev",
            "Creates a bdev in memory.",
            CreateMallocAsync),
        Delete("bdev_malloc_delete", ["delete_malloc_bdev"], BdevName, "malloc", "Deletes a bdev in memory. Targets that use it are removed from their controllers first."),
        new(
            RpcGroup.Bdevs,
            "bdev_null_create",
            ["construct_null_bdev"],
            [
                BdevName,
                Required("num_blocks", RpcType.UInt64, "Number of blocks. num_blocks * block_size is a whole number of MiB."),
                Required("block_size", RpcType.UInt32, "Block size in bytes: a power of two from 512 to 65536."),
            ],
            "name of the bdev",
            "Creates a bdev that stores nothing.",
            arguments => CreateOneAsync(arguments.String("name"), new JsonObject { ["type"] = "null", ["sizeMiB"] = ToMebibytes(arguments), ["blockSize"] = arguments.UInt32("block_size") })),
        Delete("bdev_null_delete", ["delete_null_bdev"], BdevName, "null", "Deletes a null bdev."),
        new(
            RpcGroup.Bdevs,
            "bdev_aio_create",
            ["construct_aio_bdev"],
            [
                BdevName,
                Required("filename", RpcType.String, "A file or a block device of this machine."),
                Optional("block_size", RpcType.UInt32, "Block size in bytes: a power of two from 512 to 65536. Default: 512."),
                Optional("readonly", RpcType.Boolean, "Whether writes are refused. Default: false."),
            ],
            "name of the bdev",
            "Creates a bdev on a file (type `file`), past the host's page cache.",
            CreateFileAsync),
        Delete("bdev_aio_delete", ["delete_aio_bdev"], BdevName, "file", "Deletes a file bdev; the file stays."),
        new(
            RpcGroup.Bdevs,
            "bdev_nvme_attach_controller",
            ["construct_nvme_bdev"],
            [
                SourceName,
                Required("trtype", RpcType.String, "PCIe, or VFIOUSER for the socket of a vfio-user device."),
                Required("traddr", RpcType.String, "The PCI address (0000:00:06.0), or the socket's path."),
            ],
            "array of the bdevs' names, NAMEnN each",
            "Attaches an NVMe controller: one bdev for each active namespace.",
            AttachNvmeAsync),
        Delete("bdev_nvme_detach_controller", ["delete_nvme_controller"], SourceName, "nvme", "Detaches an NVMe controller, with all its bdevs."),
        new(
            RpcGroup.Bdevs,
            "bdev_virtio_attach_controller",
            ["construct_virtio_dev"],
            [
                SourceName,
                Required("trtype", RpcType.String, "pci, or vfio-user for the socket of a vfio-user device."),
                Required("traddr", RpcType.String, "The PCI address (0000:00:05.0), or the socket's path."),
                Required("dev_type", RpcType.String, "scsi."),
                Optional("vq_size", RpcType.UInt32, "Entries of each request queue, 2 to 1024."),
            ],
            "array of the bdevs' names, NAMEtN each",
            "Attaches a virtio-scsi HBA: one bdev for each disk. The number of queues follows the reactors.",
            AttachVirtioAsync),
        new(
            RpcGroup.Bdevs,
            "construct_virtio_pci_scsi_bdev",
            [],
            [SourceName, Required("pci_address", RpcType.String, "The PCI address (0000:00:05.0).")],
            "array of the bdevs' names, NAMEtN each",
            "The oldest form of bdev_virtio_attach_controller.",
            arguments => CreateSeveralAsync(arguments.String("name"), new JsonObject { ["type"] = "virtio-scsi", ["address"] = arguments.String("pci_address") })),
        Delete("bdev_virtio_detach_controller", ["remove_virtio_bdev", "remove_virtio_scsi_bdev"], SourceName, "virtio-scsi", "Detaches a virtio-scsi HBA, with all its bdevs."),
        Delete("delete_bdev", [], BdevName, null, "Deletes a bdev of any type. One of several that a controller gives goes with that controller."),
        new(
            RpcGroup.Bdevs,
            "bdev_get_bdevs",
            ["get_bdevs"],
            [Optional("name", RpcType.String, "One bdev. Default: all.")],
            "array of objects: name, aliases, product_name, block_size, num_blocks, uuid, assigned_rate_limits, claimed, supported_io_types, driver_specific",
            "Lists bdevs.",
            arguments => Done(GetBdevs(arguments.OptionalString("name")))),
        new(
            RpcGroup.Bdevs,
            "bdev_get_iostat",
            [],
            [Optional("name", RpcType.String, "One bdev. Default: all.")],
            "object: tick_rate, ticks, bdevs",
            "Tells what was done with bdevs.",
            arguments => Done(GetStatistics(arguments.OptionalString("name")))),
        new(
            RpcGroup.Bdevs,
            "get_bdevs_iostat",
            [],
            [Optional("name", RpcType.String, "One bdev. Default: all.")],
            "array: an object with tick_rate, then one for each bdev",
            "The older form of bdev_get_iostat.",
            arguments => Done(GetOlderStatistics(arguments.OptionalString("name")))),
    ];

    private RpcMethod Delete(string name, IReadOnlyList<string> olderNames, RpcParameter parameter, string? type, string description) => new(
        RpcGroup.Bdevs,
        name,
        olderNames,
        [parameter],
        "true",
        description,
        arguments => True(Graph.RemoveBdevsAsync(arguments.String("name"), type, type is null ? RpcException.InvalidParameters : RpcException.NoSuchDevice)));

    private static long ToMebibytes(RpcArguments arguments)
    {
        var blocks = arguments.UInt64("num_blocks");
        var blockSize = arguments.UInt32("block_size");
        var size = (UInt128)blocks * blockSize;
        return size > 0 && size % MebibyteBytes == 0 && size / MebibyteBytes <= int.MaxValue
            ? (long)(size / MebibyteBytes)
            : throw RpcException.InvalidParameters($"{blocks} blocks of {blockSize} bytes are not a whole number of MiB of at least 1");
    }

    private async Task<JsonNode?> CreateOneAsync(string name, JsonObject section)
    {
        await Graph.AddBdevsAsync(name, section).ConfigureAwait(false);
        return name;
    }

    private async Task<JsonNode?> CreateSeveralAsync(string name, JsonObject section) => ToJson(await Graph.AddBdevsAsync(name, section).ConfigureAwait(false));

    private Task<JsonNode?> CreateMallocAsync(RpcArguments arguments)
    {
        var section = new JsonObject { [ManifestSections.TypeKey] = "malloc", ["sizeMiB"] = ToMebibytes(arguments), ["blockSize"] = arguments.UInt32("block_size") };
        if (arguments.OptionalString("uuid") is { } uuid)
        {
            section["uuid"] = uuid;
        }

        return CreateOneAsync(arguments.OptionalString("name") ?? Graph.GetFreeName("Malloc"), section);
    }

    private Task<JsonNode?> CreateFileAsync(RpcArguments arguments)
    {
        var section = new JsonObject { [ManifestSections.TypeKey] = "file", ["path"] = Path.GetFullPath(arguments.String("filename")), ["direct"] = true };
        if (arguments.OptionalUInt32("block_size") is { } blockSize)
        {
            section["blockSize"] = blockSize;
        }

        if (arguments.Boolean("readonly", false))
        {
            section["readOnly"] = true;
        }

        return CreateOneAsync(arguments.String("name"), section);
    }

    private Task<JsonNode?> AttachNvmeAsync(RpcArguments arguments)
    {
        var transport = arguments.String("trtype");
        if (!transport.Equals("PCIe", StringComparison.OrdinalIgnoreCase) && !transport.Equals("VFIOUSER", StringComparison.OrdinalIgnoreCase))
        {
            throw RpcException.InvalidParameters($"trtype \"{transport}\" is neither PCIe nor VFIOUSER: vhostd drives NVMe controllers on PCI");
        }

        return CreateSeveralAsync(arguments.String("name"), new JsonObject { [ManifestSections.TypeKey] = "nvme", ["address"] = arguments.String("traddr") });
    }

    private Task<JsonNode?> AttachVirtioAsync(RpcArguments arguments)
    {
        var transport = arguments.String("trtype");
        if (transport is not ("pci" or "vfio-user"))
        {
            throw RpcException.InvalidParameters($"trtype \"{transport}\" is neither pci nor vfio-user");
        }

        if (arguments.String("dev_type") != "scsi")
        {
            throw RpcException.InvalidParameters($"dev_type \"{arguments.String("dev_type")}\" is not scsi, the only one that vhostd drives");
        }

        var section = new JsonObject { [ManifestSections.TypeKey] = "virtio-scsi", ["address"] = arguments.String("traddr") };
        if (arguments.OptionalUInt32("vq_size") is { } size)
        {
            section["queueSize"] = size;
        }

        return CreateSeveralAsync(arguments.String("name"), section);
    }
}
