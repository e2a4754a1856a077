using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Host.Wiring;

namespace Vhost.Host.Rpc;

/// <content>Methods that report about bdevs.</content>
internal sealed partial class RpcSurface
{
    private JsonArray GetBdevs(string? name, bool isOlder)
    {
        var status = Host.GetStatus();
        return [.. Select(status, name).Select(bdev => ToJson(bdev, status, isOlder))];
    }

    private async Task<JsonNode?> GetBdevsAsync(string? name, ulong timeoutMilliseconds)
    {
        if (name is not null && timeoutMilliseconds > 0 && Host.FindPort(name) is null)
        {
            // Within what a connection may take for a reply in any case.
            await Host.WaitForBdevAsync(name, TimeSpan.FromMilliseconds(Math.Min(timeoutMilliseconds, 60_000))).ConfigureAwait(false);
        }

        return GetBdevs(name, isOlder: false);
    }

    private JsonObject ToJson(BdevStatus bdev, HostStatus status, bool isOlder)
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
        json["assigned_rate_limits"] = new JsonObject
        {
            ["rw_ios_per_sec"] = bdev.Qos.ReadWriteIosPerSec,
            ["rw_mbytes_per_sec"] = bdev.Qos.ReadWriteMbytesPerSec,
        };
        if (!isOlder)
        {
            json["assigned_rate_limits"]!["r_mbytes_per_sec"] = bdev.Qos.ReadMbytesPerSec;
            json["assigned_rate_limits"]!["w_mbytes_per_sec"] = bdev.Qos.WriteMbytesPerSec;
        }

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

    /// <summary>The bdevs that are there, or the one of a name.</summary>
    private static IEnumerable<BdevStatus> Select(HostStatus status, string? name)
    {
        var present = status.Bdevs.Where(bdev => bdev.Info is not null && (name is null || bdev.Name == name)).ToArray();
        return name is null || present.Length > 0 ? present : throw RpcException.InvalidParameters($"there is no bdev \"{name}\"");
    }
}
