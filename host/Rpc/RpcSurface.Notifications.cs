using System.Text.Json.Nodes;
using Vhost.Host.Bdevs;

namespace Vhost.Host.Rpc;

/// <content>Comings and goings of bdevs, and options that SPDK's configurations begin with.</content>
internal sealed partial class RpcSurface
{
    private IEnumerable<RpcMethod> NotificationMethods() =>
    [
        new(RpcGroup.Bdevs, "notify_get_types", ["get_notification_types"], [], "array of names", "Lists the kinds of notifications.", _ => Done(ToJson(BdevNotifications.Kinds))),
        new(
            RpcGroup.Bdevs,
            "notify_get_notifications",
            ["get_notifications"],
            [
                Optional("id", RpcType.UInt64, "The first that is wanted: one more than the last that was seen. Default: 0."),
                Optional("max", RpcType.UInt64, $"How many at most. Default: all; the last {BdevNotifications.Capacity} are kept."),
            ],
            "array of objects: type, ctx (the bdev), id",
            "Tells which bdevs came and went, oldest first.",
            arguments => Done(new JsonArray([.. Host.Notifications.Get(arguments.OptionalUInt64("id") ?? 0, arguments.OptionalUInt64("max") ?? ulong.MaxValue).Select(notification => new JsonObject
            {
                ["type"] = notification.Kind,
                ["ctx"] = notification.Bdev,
                ["id"] = notification.Id,
            })]))),
        new(
            RpcGroup.Bdevs,
            "bdev_set_options",
            ["set_bdev_options"],
            [
                .. new[] { "bdev_io_pool_size", "bdev_io_cache_size", "iobuf_small_cache_size", "iobuf_large_cache_size", "small_buf_pool_size", "large_buf_pool_size" }
                    .Select(name => Optional(name, RpcType.UInt32, "Accepted: requests lie in their queues, and need no pool.")),
                Optional("bdev_auto_examine", RpcType.Boolean, "Accepted: bdevs build on others only where they are told to."),
            ],
            "true",
            "Accepts what SPDK's configurations begin with; at any time.",
            _ => Done(true)),
    ];
}
