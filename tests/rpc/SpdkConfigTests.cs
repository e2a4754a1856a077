using System.Text.Json.Nodes;

namespace Vhost.Rpc.Tests;

/// <summary>What SPDK's vhost writes at save_config, with all the settings that it writes unasked, is loaded without a change.</summary>
public sealed class SpdkConfigTests
{
    private const string Uuid = "0d8ab4b6-6a53-4f1e-8f50-6cc3ab1f1a01";

    [Fact]
    public async Task It_is_loaded_by_one_call()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        var result = (await client.ResultAsync("load_config", new JsonObject { ["subsystems"] = Subsystems(host.Directory) }))!;
        Assert.Equal(
            ["keyring: keyring_linux_set_options is left out", "iobuf: iobuf_set_options is left out", "sock: sock_set_default_impl is left out"],
            result["warnings"]!.AsArray().Select(warning => warning!.GetValue<string>().Split(':')[0] + ":" + warning.GetValue<string>().Split(':')[1]));
        await CheckAsync(client);
    }

    /// <summary>As rpc.py load_config does it: what may be called now is called, until nothing is left that may.</summary>
    [Fact]
    public async Task It_is_loaded_call_by_call_without_one_that_fails()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        var allowed = (await client.ResultAsync("rpc_get_methods", new JsonObject { ["current"] = true, ["include_aliases"] = true }))!
            .AsArray().Select(name => name!.GetValue<string>()).ToHashSet();
        // It would be called, and is an error once everything has started.
        Assert.DoesNotContain("framework_start_init", allowed);
        Assert.DoesNotContain("start_subsystem_init", allowed);
        Assert.Contains("framework_start_init", (await client.ResultAsync("rpc_get_methods"))!.AsArray().Select(name => name!.GetValue<string>()));
        var left = new List<string>();
        foreach (var call in Subsystems(host.Directory).SelectMany(subsystem => subsystem!["config"]?.AsArray() ?? []))
        {
            var method = call!["method"]!.GetValue<string>();
            if (allowed.Contains(method))
            {
                await client.ResultAsync(method, call["params"]?.DeepClone().AsObject());
            }
            else
            {
                left.Add(method);
            }
        }

        Assert.Equal(["keyring_linux_set_options", "iobuf_set_options", "sock_set_default_impl"], left);
        await CheckAsync(client);
    }

    [Fact]
    public async Task What_would_be_another_disk_is_refused()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        foreach (var (key, value) in new (string, JsonNode)[] { ("physical_block_size", 4096), ("md_size", 8), ("uuid", "x") })
        {
            var parameters = new JsonObject { ["name"] = "N", ["num_blocks"] = 2048, ["block_size"] = 512, [key] = value };
            Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_null_create", parameters));
        }

        Assert.Equal("[]", (await client.ResultAsync("bdev_get_bdevs"))!.ToJsonString());
    }

    private static async Task CheckAsync(Client client)
    {
        var bdevs = (await client.ResultAsync("bdev_get_bdevs"))!.AsArray().ToDictionary(bdev => bdev!["name"]!.GetValue<string>(), bdev => bdev!);
        Assert.Equal(["Aio0", "Malloc0", "Null0"], bdevs.Keys.Order());
        Assert.All(bdevs.Values, bdev => Assert.Equal(Uuid, bdev["uuid"]!.GetValue<string>()));
        Assert.Equal(["vhost.0", "vhost.1"], (await client.ResultAsync("vhost_get_controllers"))!.AsArray().Select(controller => controller!["ctrlr"]!.GetValue<string>()).Order());

        // And out again, into what a fresh vhostd loads.
        var config = (await client.ResultAsync("framework_get_config", new JsonObject { ["name"] = "bdev" }))!.AsArray();
        Assert.Equal(3, config.Count(call => call!["params"]?["uuid"]?.GetValue<string>() == Uuid));
    }

    private static JsonArray Subsystems(string directory)
    {
        var file = Path.Combine(directory, "disk.img");
        File.WriteAllBytes(file, new byte[1 << 20]);
        return JsonNode.Parse(
            $$"""
            [ { "subsystem": "keyring", "config": [ { "method": "keyring_linux_set_options", "params": { "enable": false } } ] },
              { "subsystem": "iobuf", "config": [ { "method": "iobuf_set_options", "params": { "small_pool_count": 8192, "large_pool_count": 1024 } } ] },
              { "subsystem": "sock", "config": [ { "method": "sock_set_default_impl", "params": { "impl_name": "posix" } } ] },
              { "subsystem": "vmd", "config": [] },
              { "subsystem": "bdev", "config": [
                { "method": "bdev_set_options", "params": { "bdev_io_pool_size": 65535, "bdev_io_cache_size": 256, "bdev_auto_examine": true, "iobuf_small_cache_size": 128, "iobuf_large_cache_size": 16 } },
                { "method": "bdev_raid_set_options", "params": { "process_window_size_kb": 1024, "process_max_bandwidth_mb_sec": 0 } },
                { "method": "bdev_iscsi_set_options", "params": { "timeout_sec": 30 } },
                { "method": "bdev_nvme_set_options", "params": {
                    "action_on_timeout": "none", "timeout_us": 0, "timeout_admin_us": 0, "keep_alive_timeout_ms": 10000, "arbitration_burst": 0, "low_priority_weight": 0,
                    "medium_priority_weight": 0, "high_priority_weight": 0, "nvme_adminq_poll_period_us": 10000, "nvme_ioq_poll_period_us": 0, "io_queue_requests": 512,
                    "delay_cmd_submit": true, "transport_retry_count": 4, "bdev_retry_count": 3, "transport_ack_timeout": 0, "ctrlr_loss_timeout_sec": 0,
                    "reconnect_delay_sec": 0, "fast_io_fail_timeout_sec": 0, "disable_auto_failback": false, "generate_uuids": false, "transport_tos": 0, "nvme_error_stat": false,
                    "rdma_srq_size": 0, "io_path_stat": false, "allow_accel_sequence": false, "rdma_max_cq_size": 0, "rdma_cm_event_timeout_ms": 0,
                    "dhchap_digests": [ "sha256", "sha384" ], "dhchap_dhgroups": [ "null", "ffdhe2048" ] } },
                { "method": "bdev_nvme_set_hotplug", "params": { "period_us": 100000, "enable": false } },
                { "method": "bdev_malloc_create", "params": { "name": "Malloc0", "num_blocks": 2048, "block_size": 512, "physical_block_size": 512, "uuid": "{{Uuid}}", "optimal_io_boundary": 0,
                    "md_size": 0, "dif_type": 0, "dif_is_head_of_md": false, "dif_pi_format": 0 } },
                { "method": "bdev_null_create", "params": { "name": "Null0", "num_blocks": 2048, "block_size": 512, "physical_block_size": 512, "md_size": 0, "dif_type": 0,
                    "dif_is_head_of_md": false, "dif_pi_format": 0, "uuid": "{{Uuid}}" } },
                { "method": "bdev_aio_create", "params": { "name": "Aio0", "block_size": 4096, "filename": "{{file}}", "readonly": false, "fallocate": false, "uuid": "{{Uuid}}" } },
                { "method": "bdev_wait_for_examine" } ] },
              { "subsystem": "scsi", "config": null },
              { "subsystem": "scheduler", "config": [ { "method": "framework_set_scheduler", "params": { "name": "static" } } ] },
              { "subsystem": "vhost_scsi", "config": [
                { "method": "vhost_create_scsi_controller", "params": { "ctrlr": "vhost.0", "delay": true } },
                { "method": "vhost_scsi_controller_add_target", "params": { "ctrlr": "vhost.0", "scsi_target_num": 0, "bdev_name": "Malloc0" } },
                { "method": "vhost_start_scsi_controller", "params": { "ctrlr": "vhost.0" } } ] },
              { "subsystem": "vhost_blk", "config": [ { "method": "vhost_create_blk_controller", "params": { "ctrlr": "vhost.1", "dev_name": "Null0", "readonly": false, "transport": "vhost_user_blk" } } ] } ]
            """)!.AsArray();
    }
}
