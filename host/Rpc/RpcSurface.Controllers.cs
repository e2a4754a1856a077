using System.Globalization;
using System.Numerics;
using System.Text.Json.Nodes;
using Vhost.Host.Manifest;

namespace Vhost.Host.Rpc;

/// <content>Methods about controllers.</content>
internal sealed partial class RpcSurface
{
    // What SPDK reports for a controller whose coalescing was never set.
    private const int DefaultIopsThreshold = 60000;

    private const string BlkTransport = "vhost_user_blk";

    private static readonly RpcParameter Controller = Required("ctrlr", RpcType.String, "The controller's name.");
    private static readonly RpcParameter Cpumask = Optional("cpumask", RpcType.String, "CPUs whose reactors serve its queues: a mask (\"0x3\") or a list (\"[0,2-3]\"). Default: all.");

    private IEnumerable<RpcMethod> ControllerMethods() =>
    [
        new(
            RpcGroup.Controllers,
            "vhost_create_scsi_controller",
            [],
            [Controller, Cpumask, Optional("delay", RpcType.Boolean, "Let no guest in before vhost_start_scsi_controller. Default: false.")],
            "true",
            "Creates a SCSI controller without targets, behind the manifest's `rpc.defaultTransport`.",
            CreateScsiAsync),
        new(RpcGroup.Controllers, "construct_vhost_scsi_controller", [], [Controller, Cpumask], "true", "The older form of vhost_create_scsi_controller.", CreateScsiAsync),
        new(
            RpcGroup.Controllers,
            "vhost_start_scsi_controller",
            [],
            [Controller],
            "true",
            "Lets guests in to a controller that was created with delay.",
            arguments => True(Graph.StartDelayedAsync(arguments.String("ctrlr")))),
        new(
            RpcGroup.Controllers,
            "vhost_scsi_controller_add_target",
            [],
            [
                Controller,
                Required("scsi_target_num", RpcType.Int32, "The target, 0 to 255; -1 for the first that is free."),
                Required("bdev_name", RpcType.String, "The bdev that is its LUN 0."),
            ],
            "number of the target",
            "Adds a target to a running controller. The guest is told of it.",
            async arguments => await Graph.AddTargetAsync(arguments.String("ctrlr"), arguments.Int32("scsi_target_num"), arguments.String("bdev_name")).ConfigureAwait(false)),
        new(
            RpcGroup.Controllers,
            "add_vhost_scsi_lun",
            [],
            [
                Controller,
                Required("scsi_target_num", RpcType.UInt32, "The target, 0 to 255."),
                Required("bdev_name", RpcType.String, "The bdev that is its LUN 0."),
            ],
            "true",
            "The older form of vhost_scsi_controller_add_target.",
            arguments => True(Graph.AddTargetAsync(arguments.String("ctrlr"), ToTarget(arguments.UInt32("scsi_target_num")), arguments.String("bdev_name")))),
        new(
            RpcGroup.Controllers,
            "vhost_scsi_controller_remove_target",
            ["remove_vhost_scsi_target"],
            [Controller, Required("scsi_target_num", RpcType.UInt32, "The target.")],
            "true, sent when its bdev is not used any more",
            "Removes a target of a running controller. The guest is told of it; its requests under way are aborted.",
            arguments => True(Graph.RemoveTargetAsync(arguments.String("ctrlr"), ToTarget(arguments.UInt32("scsi_target_num"))))),
        new(
            RpcGroup.Controllers,
            "vhost_create_blk_controller",
            ["construct_vhost_blk_controller"],
            [
                Controller,
                Required("dev_name", RpcType.String, "The bdev."),
                Cpumask,
                Optional("readonly", RpcType.Boolean, "Whether the guest may not write. Default: false."),
                Optional("packed_ring", RpcType.Boolean, "Accepted: packed rings are always offered."),
                Optional("transport", RpcType.String, "vhost_user_blk, for what the manifest's rpc.defaultTransport says."),
            ],
            "true",
            "Creates a block controller, behind the manifest's `rpc.defaultTransport`.",
            CreateBlkAsync),
        new(
            RpcGroup.Controllers,
            "vhost_delete_controller",
            ["remove_vhost_controller"],
            [Controller],
            "true",
            "Deletes a controller that has neither targets nor a front-end, and its transport.",
            arguments => True(Graph.RemoveControllerAsync(arguments.String("ctrlr")))),
        new(
            RpcGroup.Controllers,
            "vhost_get_controllers",
            [],
            [Optional("name", RpcType.String, "One controller. Default: all.")],
            "array of objects: ctrlr, cpumask, delay_base_us, iops_threshold, socket, sessions (vid, id, name, started, max_queues, inflight_task_cnt), backend_specific",
            "Lists controllers.",
            arguments => Done(GetControllers(arguments.OptionalString("name"), withSessions: true))),
        new(
            RpcGroup.Controllers,
            "get_vhost_controllers",
            [],
            [Optional("name", RpcType.String, "One controller. Default: all.")],
            "array of objects: ctrlr, cpumask, delay_base_us, iops_threshold, socket, backend_specific",
            "The older form of vhost_get_controllers.",
            arguments => Done(GetControllers(arguments.OptionalString("name"), withSessions: false))),
        new(
            RpcGroup.Controllers,
            "vhost_controller_set_coalescing",
            ["set_vhost_controller_coalescing"],
            [
                Controller,
                Required("delay_base_us", RpcType.UInt32, "How long an interrupt may wait at twice the threshold, in microseconds, 0 to 100000; 0 for never."),
                Required("iops_threshold", RpcType.UInt32, "Requests of a queue in a second up to which no interrupt waits."),
            ],
            "true",
            "Lets interrupts of busy queues wait for more completions; live. The wait grows with the rate, to 10 ms at most.",
            arguments => True(Graph.ChangeControllerAsync(
                arguments.String("ctrlr"),
                ManifestSections.CoalescingKey,
                arguments.UInt32("delay_base_us") == 0 && arguments.UInt32("iops_threshold") == DefaultIopsThreshold
                    ? null
                    : new JsonObject { ["delayBaseUs"] = arguments.UInt32("delay_base_us"), ["iopsThreshold"] = arguments.UInt32("iops_threshold") }))),
        new(
            RpcGroup.Controllers,
            "vhost_controller_move",
            [],
            [Controller, Required("cpumask", RpcType.String, "CPUs whose reactors serve its queues: a mask (\"0x3\") or a list (\"[0,2-3]\"); empty for all.")],
            "true",
            "Lets a controller's queues run on other reactors; live, no request is lost. SPDK has no such method.",
            arguments => True(Graph.ChangeControllerAsync(arguments.String("ctrlr"), ManifestSections.CpumaskKey, arguments.String("cpumask") is { Length: > 0 } mask ? mask : null))),
        new(
            RpcGroup.Controllers,
            "virtio_blk_create_transport",
            [],
            [Required("name", RpcType.String, "vhost_user_blk.")],
            "error: it is there already",
            "Creates a transport of block controllers; there is one, and it is there.",
            arguments => arguments.String("name") == BlkTransport ? throw RpcException.FileExists("it is there already") : throw RpcException.InvalidArgument($"there is no transport \"{arguments.String("name")}\"")),
        new(
            RpcGroup.Controllers,
            "virtio_blk_get_transports",
            [],
            [Optional("name", RpcType.String, "One transport. Default: all.")],
            "array of objects: name",
            "Lists the transports of block controllers.",
            arguments => arguments.OptionalString("name") is null or BlkTransport
                ? Done(new JsonArray(new JsonObject { ["name"] = BlkTransport }))
                : throw RpcException.NoSuchDevice($"there is no transport \"{arguments.OptionalString("name")}\"")),
        .. MeterMethods().Where(method => method.Group == RpcGroup.Controllers),
    ];

    private static int ToTarget(uint number) => number <= int.MaxValue ? (int)number : throw RpcException.InvalidArgument($"{number} is no target from 0 to 255");

    private static JsonObject NewSection(string type, RpcArguments arguments)
    {
        var section = new JsonObject { [ManifestSections.TypeKey] = type };
        if (arguments.OptionalString("cpumask") is { } mask)
        {
            section[ManifestSections.CpumaskKey] = mask;
        }

        return section;
    }

    private static string ToMask(IEnumerable<int> cpus)
    {
        var mask = cpus.Aggregate(BigInteger.Zero, (bits, cpu) => bits | (BigInteger.One << cpu));
        var digits = mask.ToString("x", CultureInfo.InvariantCulture).TrimStart('0');
        return "0x" + (digits.Length == 0 ? "0" : digits);
    }

    private Task<JsonNode?> CreateScsiAsync(RpcArguments arguments) =>
        True(Graph.AddControllerAsync(arguments.String("ctrlr"), NewSection(LiveGraph.ScsiType, arguments), arguments.Boolean("delay", false)));

    private Task<JsonNode?> CreateBlkAsync(RpcArguments arguments)
    {
        if (arguments.OptionalString("transport") is { } transport and not BlkTransport)
        {
            throw RpcException.InvalidArgument($"there is no transport \"{transport}\"; leave it out, or name {BlkTransport}");
        }

        var bdev = arguments.String("dev_name");
        if (Host.GetStatus().Bdevs.All(known => known.Name != bdev || known.Info is null))
        {
            throw RpcException.NoSuchDevice($"there is no bdev \"{bdev}\"");
        }

        var section = NewSection("blk", arguments);
        section["bdev"] = bdev;
        if (arguments.Boolean("readonly", false))
        {
            section["readOnly"] = true;
        }

        return True(Graph.AddControllerAsync(arguments.String("ctrlr"), section, isDelayed: false));
    }

    private JsonArray GetControllers(string? name, bool withSessions)
    {
        var status = Host.GetStatus();
        var all = status.Controllers.Select(controller => (controller.Name, controller.Endpoint, Cpus: controller.CpuIndexes, controller.Coalescing, controller.Session))
            .Concat(Graph.GetDelayed().Select(delayed => (delayed.Name, delayed.Endpoint, Cpus: (IReadOnlyList<int>)[], Coalescing: BoundCoalescing.None, Session: (Abstractions.SessionStatus?)null)))
            .Where(controller => name is null || controller.Name == name)
            .ToArray();
        if (name is not null && all.Length == 0)
        {
            throw RpcException.NoSuchDevice($"there is no controller \"{name}\"");
        }

        return [.. all.Select(controller =>
        {
            var json = new JsonObject
            {
                ["ctrlr"] = controller.Name,
                ["cpumask"] = ToMask(controller.Cpus.Count > 0 ? controller.Cpus : status.Reactors.Select(reactor => reactor.CpuIndex)),
                ["delay_base_us"] = (long)controller.Coalescing.DelayBase.TotalMicroseconds,
                ["iops_threshold"] = controller.Coalescing.IopsThreshold,
                ["socket"] = controller.Endpoint,
            };
            if (withSessions)
            {
                json["sessions"] = new JsonArray(controller.Session is { } session
                    ? [new JsonObject
                    {
                        ["vid"] = session.Id,
                        ["id"] = session.Id,
                        ["name"] = $"{controller.Name}s{session.Id}",
                        ["started"] = session.Queues.Count > 0,
                        ["max_queues"] = session.MaxQueueCount,
                        ["inflight_task_cnt"] = session.Queues.Sum(queue => queue.UnderWayCount),
                    }]
                    : []);
            }

            json["backend_specific"] = GetBackend(controller.Name);
            return json;
        })];
    }

    private JsonObject GetBackend(string controller)
    {
        switch (Graph.FindControllerType(controller))
        {
            case LiveGraph.ScsiType:
                return new JsonObject
                {
                    ["scsi"] = new JsonArray([.. Graph.GetTargets(controller).Select(target => new JsonObject
                    {
                        ["scsi_dev_num"] = target.Key,
                        ["id"] = target.Key,
                        ["target_name"] = $"Target {target.Key}",
                        ["luns"] = new JsonArray(new JsonObject { ["id"] = 0, ["bdev_name"] = target.Value }),
                    })]),
                };
            case "blk":
                return new JsonObject
                {
                    ["block"] = new JsonObject
                    {
                        ["readonly"] = Graph.GetOption(controller, "readOnly") is JsonValue value && value.TryGetValue(out bool isReadOnly) && isReadOnly,
                        ["bdev"] = Graph.GetOption(controller, "bdev"),
                    },
                };
            default:
                return [];
        }
    }
}
