using System.Text.Json.Nodes;
using Vhost.Host.Manifest;

namespace Vhost.Host.Rpc;

/// <summary>A manifest as SPDK's configuration: the calls that make it.</summary>
internal static class SpdkConfig
{
    /// <summary>The calls that make the bdevs.</summary>
    /// <param name="root">The manifest.</param>
    /// <param name="surface">Knows the methods that types have.</param>
    internal static IEnumerable<JsonObject> OfBdevs(JsonObject root, RpcSurface surface)
    {
        foreach (var (name, node) in Section(root, ManifestDiff.BdevsKey))
        {
            yield return OfBdev(name, node!.AsObject(), surface);
        }

        foreach (var (name, node) in Section(root, ManifestSections.BdevSettingsKey))
        {
            if (node!["qos"] is JsonObject qos)
            {
                var parameters = new JsonObject { ["name"] = name };
                foreach (var (key, value) in qos)
                {
                    parameters[Snake(key)] = value!.DeepClone();
                }

                yield return Call("bdev_set_qos_limit", parameters);
            }

            if (node["readOnly"]?.GetValue<bool>() == true)
            {
                yield return Call("vhostd_bdev_set_read_only", new JsonObject { ["name"] = name, ["read_only"] = true });
            }
        }
    }

    /// <summary>The calls that make the controllers of a type.</summary>
    /// <param name="root">The manifest.</param>
    /// <param name="type">The type.</param>
    internal static IEnumerable<JsonObject> OfControllers(JsonObject root, string type)
    {
        foreach (var (name, node) in Section(root, ManifestDiff.ControllersKey))
        {
            var section = node!.AsObject();
            if (section[ManifestSections.TypeKey]!.GetValue<string>() != type)
            {
                continue;
            }

            var parameters = new JsonObject { ["ctrlr"] = name };
            if (section[ManifestSections.CpumaskKey] is { } mask)
            {
                parameters["cpumask"] = mask.DeepClone();
            }

            if (type == ManifestDiff.ScsiType)
            {
                yield return Call("vhost_create_scsi_controller", parameters);
                foreach (var (target, bdev) in Section(section, ManifestDiff.TargetsKey))
                {
                    yield return Call("vhost_scsi_controller_add_target", new JsonObject
                    {
                        ["ctrlr"] = name,
                        ["scsi_target_num"] = int.Parse(target, System.Globalization.CultureInfo.InvariantCulture),
                        ["bdev_name"] = bdev!.DeepClone(),
                    });
                }
            }
            else
            {
                parameters["dev_name"] = section["bdev"]!.DeepClone();
                parameters["readonly"] = section["readOnly"]?.DeepClone() ?? false;
                yield return Call("vhost_create_blk_controller", parameters);
            }

            if (section[ManifestSections.CoalescingKey] is JsonObject coalescing)
            {
                yield return Call("vhost_controller_set_coalescing", new JsonObject
                {
                    ["ctrlr"] = name,
                    ["delay_base_us"] = coalescing["delayBaseUs"]?.DeepClone() ?? 0,
                    ["iops_threshold"] = coalescing["iopsThreshold"]?.DeepClone() ?? BoundCoalescing.None.IopsThreshold,
                });
            }
        }
    }

    private static JsonObject OfBdev(string name, JsonObject section, RpcSurface surface)
    {
        var type = section[ManifestSections.TypeKey]!.GetValue<string>();
        var parameters = new JsonObject { ["name"] = name };
        bool Has(params string[] keys) => section.All(pair => pair.Key == ManifestSections.TypeKey || keys.Contains(pair.Key));
        if (type is "malloc" or "null" && Has("sizeMiB", "blockSize", "uuid"))
        {
            var blockSize = section["blockSize"]?.GetValue<int>() ?? 512;
            parameters["num_blocks"] = section["sizeMiB"]!.GetValue<long>() * (1 << 20) / blockSize;
            parameters["block_size"] = blockSize;
            if (section["uuid"] is { } uuid)
            {
                parameters["uuid"] = uuid.DeepClone();
            }

            return Call($"bdev_{type}_create", parameters);
        }

        if (type == "file" && Has("path", "blockSize", "readOnly", "direct", "uuid") && section["direct"]?.GetValue<bool>() == true)
        {
            parameters["filename"] = section["path"]!.DeepClone();
            parameters["block_size"] = section["blockSize"]?.DeepClone() ?? 512;
            parameters["readonly"] = section["readOnly"]?.DeepClone() ?? false;
            if (section["uuid"] is { } uuid)
            {
                parameters["uuid"] = uuid.DeepClone();
            }

            return Call("bdev_aio_create", parameters);
        }

        if (type is "nvme" or "virtio-scsi" && Has("address", "queueSize"))
        {
            var address = section["address"]!.GetValue<string>();
            var isPci = !address.StartsWith('/');
            parameters["trtype"] = (type, isPci) switch { ("nvme", true) => "PCIe", ("nvme", false) => "VFIOUSER", (_, true) => "pci", _ => "vfio-user" };
            parameters["traddr"] = address;
            if (type == "nvme")
            {
                return Call("bdev_nvme_attach_controller", parameters);
            }

            parameters["dev_type"] = "scsi";
            if (section["queueSize"] is { } size)
            {
                parameters["vq_size"] = size.DeepClone();
            }

            return Call("bdev_virtio_attach_controller", parameters);
        }

        foreach (var (key, value) in section)
        {
            if (key != ManifestSections.TypeKey)
            {
                parameters[key] = value?.DeepClone();
            }
        }

        // What SPDK's methods have no words for is created by the type's own method, which is made from its options.
        return Call(surface.FindCreate(type), parameters);
    }

    private static JsonObject Call(string method, JsonObject parameters) => new() { ["method"] = method, ["params"] = parameters };

    private static JsonObject Section(JsonObject owner, string key) => owner[key] as JsonObject ?? [];

    private static string Snake(string key) => string.Concat(key.Select(letter => char.IsUpper(letter) ? $"_{char.ToLowerInvariant(letter)}" : $"{letter}"));
}
