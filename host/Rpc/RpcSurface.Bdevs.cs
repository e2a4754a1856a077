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
                Unused("optimal_io_boundary", RpcType.UInt32),
                Unused("md_size", RpcType.UInt32),
                Unused("md_interleave", RpcType.Boolean),
                Unused("dif_type", RpcType.Int32),
                Unused("dif_is_head_of_md", RpcType.Boolean),
                Unused("dif_pi_format", RpcType.UInt32),
                Optional("physical_block_size", RpcType.UInt32, "0 or block_size: guests see blocks of one size."),
                Unused("numa_id", RpcType.Int32),
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
                Optional("uuid", RpcType.String, "UUID that guests see."),
                Optional("physical_block_size", RpcType.UInt32, "0 or block_size: guests see blocks of one size."),
                Unused("md_size", RpcType.UInt32),
                Unused("dif_type", RpcType.Int32),
                Unused("dif_is_head_of_md", RpcType.Boolean),
                Unused("dif_pi_format", RpcType.UInt32),
                Unused("preferred_write_granularity", RpcType.UInt32),
                Unused("preferred_write_alignment", RpcType.UInt32),
                Unused("optimal_write_size", RpcType.UInt32),
                Unused("preferred_unmap_granularity", RpcType.UInt32),
                Unused("preferred_unmap_alignment", RpcType.UInt32),
            ],
            "name of the bdev",
            "Creates a bdev that stores nothing.",
            arguments => CreateOneAsync(arguments.String("name"), MemorySection("null", arguments))),
        new(
            RpcGroup.Bdevs,
            "bdev_null_resize",
            [],
            [BdevName, Required("new_size", RpcType.UInt64, "The new size in MiB.")],
            "true",
            "Resizes a null bdev; live. Guests are told.",
            arguments => ResizeAsync(arguments, "null")),
        new(
            RpcGroup.Bdevs,
            "bdev_malloc_resize",
            [],
            [BdevName, Required("new_size", RpcType.UInt64, "The new size in MiB. What is added is zero, what is cut off is lost.")],
            "true",
            "Resizes a bdev in memory; live. Guests are told. SPDK has no such method.",
            arguments => ResizeAsync(arguments, "malloc")),
        new(
            RpcGroup.Bdevs,
            "bdev_aio_rescan",
            [],
            [BdevName],
            "true",
            "Looks at the size of a file at once; vhostd does so every second by itself. Guests are told.",
            arguments => True(Graph.AdjustBdevsAsync(arguments.String("name"), "file", _ => { }))),
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
                Optional("fallocate", RpcType.Boolean, "Accepted: discard and write-zeroes are done by fallocate wherever the file allows."),
                Optional("uuid", RpcType.String, "UUID that guests see."),
                Unused("nowait", RpcType.Boolean),
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
                .. new[] { "adrfam", "trsvcid", "priority", "subnqn", "hostnqn", "hostaddr", "hostsvcid", "psk", "dhchap_key", "dhchap_ctrlr_key" }.Select(name => Unused(name, RpcType.String)),
                .. new[] { "prchk_reftag", "prchk_guard", "hdgst", "ddgst", "allow_unrecognized_csi", "disable_sq_flow_control" }.Select(name => Unused(name, RpcType.Boolean)),
                .. new[] { "fabrics_connect_timeout_us", "num_io_queues", "reconnect_delay_sec", "fast_io_fail_timeout_sec", "max_bdevs" }.Select(name => Unused(name, RpcType.UInt64)),
                Unused("ctrlr_loss_timeout_sec", RpcType.Int32),
                Optional("multipath", RpcType.String, "disable, failover or multipath: a controller has one path, a second of its name is refused."),
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
                Unused("vq_count", RpcType.UInt32),
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
            [],
            [Optional("name", RpcType.String, "One bdev. Default: all."), Optional("timeout", RpcType.UInt64, "How long to wait for the bdev of that name, in milliseconds. Default: 0.")],
            "array of objects: name, aliases, product_name, block_size, num_blocks, uuid, assigned_rate_limits, claimed, supported_io_types, driver_specific",
            "Lists bdevs.",
            arguments => GetBdevsAsync(arguments.OptionalString("name"), arguments.OptionalUInt64("timeout") ?? 0)),
        new(
            RpcGroup.Bdevs,
            "get_bdevs",
            [],
            [Optional("name", RpcType.String, "One bdev. Default: all.")],
            "array of objects, as of bdev_get_bdevs with two limits",
            "The older form of bdev_get_bdevs.",
            arguments => Done(GetBdevs(arguments.OptionalString("name"), isOlder: true))),
        .. DrillMethods(),
        .. DriverMethods(),
        .. NotificationMethods(),
        .. MeterMethods().Where(method => method.Group == RpcGroup.Bdevs),
    ];

    private RpcMethod Delete(string name, IReadOnlyList<string> olderNames, RpcParameter parameter, string? type, string description) => new(
        RpcGroup.Bdevs,
        name,
        olderNames,
        [parameter],
        "true",
        description,
        arguments => True(Graph.RemoveBdevsAsync(arguments.String("name"), type, type is null ? RpcException.InvalidParameters : RpcException.NoSuchDevice)));

    private IEnumerable<RpcMethod> DriverMethods() =>
    [
        new(
            RpcGroup.Bdevs,
            "bdev_nvme_get_controllers",
            ["get_nvme_controllers"],
            [Optional("name", RpcType.String, "One source. Default: all.")],
            "array of objects: name, ctrlrs (state, trid), bdevs",
            "Lists the NVMe controllers that are attached.",
            arguments => Done(GetSources("nvme", arguments.OptionalString("name"), (section, bdevs) => ("ctrlrs", new JsonArray(new JsonObject
            {
                ["state"] = bdevs.Count > 0 ? "enabled" : "failed",
                ["trid"] = new JsonObject { ["trtype"] = AddressOf(section).StartsWith('/') ? "VFIOUSER" : "PCIe", ["traddr"] = AddressOf(section) },
            }))))),
        new(
            RpcGroup.Bdevs,
            "bdev_virtio_scsi_get_devices",
            ["get_virtio_scsi_devs"],
            [],
            "array of objects: name, virtio, bdevs",
            "Lists the virtio-scsi HBAs that are attached.",
            _ => Done(GetSources("virtio-scsi", null, (section, bdevs) => ("virtio", new JsonObject
            {
                ["type"] = AddressOf(section).StartsWith('/') ? "vfio-user" : "pci-modern",
                [AddressOf(section).StartsWith('/') ? "socket" : "pci_address"] = AddressOf(section),
            })))),
        new(
            RpcGroup.Bdevs,
            "bdev_nvme_set_hotplug",
            ["set_bdev_nvme_hotplug"],
            [Unused("enable", RpcType.Boolean), Optional("period_us", RpcType.UInt64, "Accepted.")],
            "true",
            "vhostd attaches what it is told to attach, and nothing by itself: only false is accepted.",
            _ => Done(true)),
        new(
            RpcGroup.Bdevs,
            "bdev_virtio_blk_set_hotplug",
            [],
            [Unused("enable", RpcType.Boolean), Optional("period_us", RpcType.UInt64, "Accepted.")],
            "true",
            "vhostd attaches what it is told to attach, and nothing by itself: only false is accepted.",
            _ => Done(true)),
        new(
            RpcGroup.Bdevs,
            "bdev_nvme_set_options",
            ["set_bdev_nvme_options"],
            [
                Optional("action_on_timeout", RpcType.String, "none is accepted: the driver resets a controller that does not answer by itself."),
                Unused("timeout_us", RpcType.UInt64),
                Unused("timeout_admin_us", RpcType.UInt64),
                .. new[] { "retry_count", "transport_retry_count", "bdev_retry_count" }.Select(name => Optional(name, RpcType.Int32, "Accepted: the driver repeats what a reset interrupted, and what the controller lets it repeat.")),
                .. new[] { "nvme_adminq_poll_period_us", "nvme_ioq_poll_period_us", "io_queue_requests" }.Select(name => Optional(name, RpcType.UInt64, "Accepted: the driver polls while there is work and sleeps until interrupts else; its queues are as deep as the controller's.")),
                .. new[] { "keep_alive_timeout_ms", "transport_ack_timeout", "transport_tos", "rdma_srq_size", "rdma_max_cq_size", "rdma_cm_event_timeout_ms" }
                    .Select(name => Optional(name, RpcType.UInt64, "Accepted: for controllers that are reached over a network.")),
                .. new[] { "dhchap_digests", "dhchap_dhgroups" }.Select(name => Optional(name, RpcType.StringList, "Accepted: for controllers that are reached over a network.")),
                Optional("rdma_umr_per_io", RpcType.Boolean, "Accepted: for controllers that are reached over a network."),
                Unused("ctrlr_loss_timeout_sec", RpcType.Int32),
                .. new[] { "arbitration_burst", "low_priority_weight", "medium_priority_weight", "high_priority_weight", "reconnect_delay_sec", "fast_io_fail_timeout_sec" }
                    .Select(name => Unused(name, RpcType.UInt64)),
                .. new[] { "generate_uuids", "nvme_error_stat", "io_path_stat", "disable_auto_failback", "allow_accel_sequence", "enable_flush" }.Select(name => Unused(name, RpcType.Boolean)),
                Optional("delay_cmd_submit", RpcType.Boolean, "Accepted: commands of a batch are always submitted together."),
            ],
            "true",
            "Accepts SPDK's options where they ask for nothing else than what the driver does.",
            arguments => arguments.OptionalString("action_on_timeout") is null or "none" ? Done(true) : throw RpcException.InvalidParameters("action_on_timeout: only none is accepted")),
        new(
            RpcGroup.Bdevs,
            "bdev_iscsi_set_options",
            [],
            [Optional("timeout_sec", RpcType.UInt64, "Accepted.")],
            "true",
            "Accepted, as SPDK's configurations have it; there are no iSCSI bdevs.",
            _ => Done(true)),
        new(
            RpcGroup.Bdevs,
            "bdev_raid_set_options",
            [],
            [Optional("process_window_size_kb", RpcType.UInt32, "Accepted."), Optional("process_max_bandwidth_mb_sec", RpcType.UInt32, "Accepted.")],
            "true",
            "Accepted, as SPDK's configurations have it; there are no RAID bdevs.",
            _ => Done(true)),
        new(
            RpcGroup.Bdevs,
            "bdev_wait_for_examine",
            [],
            [],
            "true",
            "Returns when all bdevs are there that sources have found. They are when a source has started.",
            _ => Done(true)),
    ];

    private static string AddressOf(JsonObject section) => section["address"]?.GetValue<string>() ?? "";

    private JsonArray GetSources(string type, string? name, Func<JsonObject, IReadOnlyList<string>, (string Key, JsonNode Value)> describe)
    {
        var status = Host.GetStatus();
        var root = Graph.Save();
        var sources = status.BdevSources.Where(source => source.TypeName == type && (name is null || source.Name == name)).ToArray();
        if (name is not null && sources.Length == 0)
        {
            throw RpcException.NoSuchDevice($"there is no source \"{name}\" of type {type}");
        }

        return [.. sources.Select(source =>
        {
            string[] bdevs = [.. status.Bdevs.Where(bdev => bdev.SourceName == source.Name).Select(bdev => bdev.Name)];
            var (key, value) = describe(root["bdevs"]![source.Name]!.AsObject(), bdevs);
            return new JsonObject { ["name"] = source.Name, [key] = value, ["bdevs"] = ToJson(bdevs) };
        })];
    }

    private Task<JsonNode?> ResizeAsync(RpcArguments arguments, string type)
    {
        var size = arguments.UInt64("new_size");
        if (size is 0 or > int.MaxValue)
        {
            throw RpcException.InvalidParameters($"new_size is 1 to {int.MaxValue} MiB");
        }

        return True(Graph.AdjustBdevsAsync(arguments.String("name"), type, section => section["sizeMiB"] = (long)size));
    }

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

    /// <summary>The section of a bdev whose size is given in blocks.</summary>
    private static JsonObject MemorySection(string type, RpcArguments arguments)
    {
        if (arguments.OptionalUInt32("physical_block_size") is { } physical and not 0 && physical != arguments.UInt32("block_size"))
        {
            throw RpcException.InvalidParameters($"physical_block_size {physical} is not block_size {arguments.UInt32("block_size")}: guests see blocks of one size; leave it out");
        }

        var section = new JsonObject { [ManifestSections.TypeKey] = type, ["sizeMiB"] = ToMebibytes(arguments), ["blockSize"] = arguments.UInt32("block_size") };
        AddUuid(section, arguments);
        return section;
    }

    private static void AddUuid(JsonObject section, RpcArguments arguments)
    {
        // SPDK's clients send an empty one, or zeroes, for none.
        if (arguments.OptionalString("uuid") is { Length: > 0 } uuid && !(Guid.TryParse(uuid, out var parsed) && parsed == Guid.Empty))
        {
            section["uuid"] = uuid;
        }
    }

    private Task<JsonNode?> CreateMallocAsync(RpcArguments arguments)
    {
        var section = MemorySection("malloc", arguments);
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

        AddUuid(section, arguments);
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
