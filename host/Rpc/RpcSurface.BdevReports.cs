using System.Diagnostics;
using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Host.Wiring;

namespace Vhost.Host.Rpc;

/// <content>Methods that report about bdevs.</content>
internal sealed partial class RpcSurface
{
    private JsonArray GetBdevs(string? name)
    {
        var status = Host.GetStatus();
        return [.. Select(status, name).Select(bdev => ToJson(bdev, status))];
    }

    private JsonObject ToJson(BdevStatus bdev, HostStatus status)
    {
        var info = bdev.Info!;
        var json = new JsonObject
        {
            ["name"] = bdev.Name,
            ["aliases"] = new JsonArray(),
            ["product_name"] = info.ProductName,
            ["block_size"] = info.BlockSizeBytes,
            ["num_blocks"] = info.BlockCount,
        };
        if (info.Uuid is { } uuid && uuid != Guid.Empty)
        {
            json["uuid"] = uuid.ToString();
        }

        var type = status.BdevSources.FirstOrDefault(source => source.Name == bdev.SourceName)?.TypeName;
        json["assigned_rate_limits"] = new JsonObject { ["rw_ios_per_sec"] = 0, ["rw_mbytes_per_sec"] = 0 };
        json["claimed"] = Graph.IsClaimed(bdev.Name);
        json["supported_io_types"] = new JsonObject
        {
            ["read"] = true,
            ["write"] = info.Operations.HasFlag(BlockOperations.Write),
            ["unmap"] = info.Operations.HasFlag(BlockOperations.Discard),
            ["write_zeroes"] = info.Operations.HasFlag(BlockOperations.WriteZeroes),
            ["flush"] = info.Operations.HasFlag(BlockOperations.Flush),
            ["reset"] = true,
            ["nvme_admin"] = false,
            ["nvme_io"] = false,
        };
        json["driver_specific"] = bdev.Details.Count == 0 || type is null ? [] : new JsonObject
        {
            [type switch { "virtio-scsi" => "virtio", "file" => "aio", _ => type }] =
                new JsonObject(bdev.Details.Select(detail => KeyValuePair.Create(detail.Key, (JsonNode?)JsonValue.Create(detail.Value)))),
        };
        return json;
    }

    private JsonObject GetStatistics(string? name) => new()
    {
        ["tick_rate"] = Stopwatch.Frequency,
        ["ticks"] = Stopwatch.GetTimestamp(),
        ["bdevs"] = new JsonArray([.. Select(Host.GetStatus(), name).Select(bdev => ToStatistics(bdev, isOlder: false))]),
    };

    private JsonArray GetOlderStatistics(string? name) =>
        [new JsonObject { ["tick_rate"] = Stopwatch.Frequency }, .. Select(Host.GetStatus(), name).Select(bdev => ToStatistics(bdev, isOlder: true))];

    private static JsonObject ToStatistics(BdevStatus bdev, bool isOlder)
    {
        var operations = bdev.Statistics.Operations;
        var (read, write, unmap) = (operations[(int)BlockOperation.Read], operations[(int)BlockOperation.Write], operations[(int)BlockOperation.Discard]);
        var json = new JsonObject
        {
            ["name"] = bdev.Name,
            ["bytes_read"] = read.Bytes,
            ["num_read_ops"] = read.Count,
            ["bytes_written"] = write.Bytes,
            ["num_write_ops"] = write.Count,
        };
        if (!isOlder)
        {
            json["bytes_unmapped"] = unmap.Bytes;
            json["num_unmap_ops"] = unmap.Count;
        }

        json["read_latency_ticks"] = read.LatencyTicks;
        json["write_latency_ticks"] = write.LatencyTicks;
        if (!isOlder)
        {
            json["unmap_latency_ticks"] = unmap.LatencyTicks;
        }

        return json;
    }

    /// <summary>The bdevs that are there, or the one of a name.</summary>
    private static IEnumerable<BdevStatus> Select(HostStatus status, string? name)
    {
        var present = status.Bdevs.Where(bdev => bdev.Info is not null && (name is null || bdev.Name == name)).ToArray();
        return name is null || present.Length > 0 ? present : throw RpcException.InvalidParameters($"there is no bdev \"{name}\"");
    }
}
