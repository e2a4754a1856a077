using System.Text.Json.Nodes;
using Vhost.Host.Manifest;
using Vhost.Linux;

namespace Vhost.Rpc.Tests;

/// <summary>What changes while it runs.</summary>
public sealed class LiveTests
{
    private static JsonObject Params(params (string Key, JsonNode? Value)[] values) => new(values.Select(value => KeyValuePair.Create(value.Key, value.Value)));

    private static JsonObject Malloc(string name) => Params(("name", name), ("num_blocks", 2048), ("block_size", 512));

    [Fact]
    public async Task Statistics_have_SPDKs_fields_and_are_set_back()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Malloc("M"));
        await client.ResultAsync("bdev_malloc_create", Malloc("N"));
        // As rpc.py of today sends it.
        var all = (await client.ResultAsync("bdev_get_iostat", Params(("per_channel", false))))!;
        Assert.Equal(["M", "N"], all["bdevs"]!.AsArray().Select(bdev => bdev!["name"]!.GetValue<string>()));
        Assert.Equal(
            [
                "name", "bytes_read", "num_read_ops", "bytes_written", "num_write_ops", "bytes_unmapped", "num_unmap_ops", "bytes_copied", "num_copy_ops",
                "read_latency_ticks", "max_read_latency_ticks", "min_read_latency_ticks", "write_latency_ticks", "max_write_latency_ticks", "min_write_latency_ticks",
                "unmap_latency_ticks", "max_unmap_latency_ticks", "min_unmap_latency_ticks", "copy_latency_ticks", "max_copy_latency_ticks", "min_copy_latency_ticks", "io_error",
            ],
            all["bdevs"]![0]!.AsObject().Select(pair => pair.Key));
        var one = (await client.ResultAsync("bdev_get_iostat", Params(("names", new JsonArray("N")), ("per_channel", true), ("reset_mode", "all"))))!;
        Assert.Equal(["tick_rate", "ticks", "name", "channels"], one.AsObject().Select(pair => pair.Key));
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("bdev_get_iostat", Params(("per_channel", true))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_get_iostat", Params(("names", new JsonArray("x")))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_get_iostat", Params(("reset_mode", "some"))));
        foreach (var mode in new[] { "all", "maxmin", "error", "none" })
        {
            await client.ResultAsync("bdev_reset_iostat", Params(("name", "M"), ("mode", mode)));
        }

        await client.ResultAsync("bdev_reset_iostat");
        await client.ResultAsync("bdev_set_qd_sampling_period", Params(("name", "M"), ("period", 1000)));
        Assert.Equal(0, (await client.ResultAsync("bdev_get_iostat", Params(("name", "M"))))!["bdevs"]![0]!["queue_depth"]!.GetValue<int>());
    }

    [Fact]
    public async Task Histograms_are_given_in_SPDKs_form()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Malloc("M"));
        Assert.Equal("-32603 Bad address", await client.ErrorAsync("bdev_get_histogram", Params(("name", "M"))));
        await client.ResultAsync("bdev_enable_histogram", Params(("name", "M"), ("enable", true)));
        var histogram = (await client.ResultAsync("get_bdev_histogram", Params(("name", "M"))))!;
        Assert.Equal((7, 7, 0, 57, 1_000_000_000L), (histogram["bucket_shift"]!.GetValue<int>(), histogram["granularity"]!.GetValue<int>(), histogram["min_range"]!.GetValue<int>(), histogram["max_range"]!.GetValue<int>(), histogram["tsc_rate"]!.GetValue<long>()));
        Assert.Equal(58 * 128 * 8, Convert.FromBase64String(histogram["histogram"]!.GetValue<string>()).Length);
        Assert.Equal([0, 0, 0], (await client.ResultAsync("bdev_get_histogram_borders", Params(("name", "M"), ("borders", new JsonArray(10, 100)))))!["borders_count"]!.AsArray().Select(count => count!.GetValue<int>()));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_get_histogram_borders", Params(("name", "M"), ("borders", new JsonArray(100, 10)))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_enable_histogram", Params(("name", "M"), ("enable", true), ("granularity", 99))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_enable_histogram", Params(("name", "M"), ("enable", true), ("opc", "fly"))));
        await client.ResultAsync("enable_bdev_histogram", Params(("name", "M"), ("enable", true), ("opc", "read"), ("granularity", 5), ("min_nsec", 1000), ("max_nsec", 1_000_000_000)));
        await client.ResultAsync("bdev_enable_histogram", Params(("name", "M"), ("enable", false)));
        Assert.Equal("-32603 Bad address", await client.ErrorAsync("bdev_get_histogram", Params(("name", "M"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_enable_histogram", Params(("name", "x"), ("enable", true))));
        await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "c")));
        Assert.Equal("-32603 Bad address", await client.ErrorAsync("vhostd_controller_get_histogram", Params(("ctrlr", "c"))));
        await client.ResultAsync("vhostd_controller_enable_histogram", Params(("ctrlr", "c"), ("enable", true)));
        await client.ResultAsync("vhostd_controller_get_histogram", Params(("ctrlr", "c")));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("vhostd_controller_enable_histogram", Params(("ctrlr", "x"), ("enable", true))));
    }

    [Fact]
    public async Task Limits_write_protection_coalescing_and_sizes_change_and_are_saved()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Malloc("M"));
        await client.ResultAsync("bdev_null_create", Params(("name", "N"), ("num_blocks", 2048), ("block_size", 512), ("dif_is_head_of_md", false)));
        await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "c")));
        var pristine = (await client.ResultAsync("save_config"))!.ToJsonString();

        Assert.Equal("-32602 No rate limits specified", await client.ErrorAsync("bdev_set_qos_limit", Params(("name", "M"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_set_qos_limit", Params(("name", "x"), ("rw_ios_per_sec", 1))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_set_qos_limit", Params(("name", "M"), ("rw_mbytes_per_sec", ulong.MaxValue))));
        await client.ResultAsync("bdev_set_qos_limit", Params(("name", "M"), ("rw_ios_per_sec", 20000), ("r_mbytes_per_sec", 100)));
        await client.ResultAsync("set_bdev_qos_limit", Params(("name", "M"), ("w_mbytes_per_sec", 50)));
        Assert.Equal(
            """{"rw_ios_per_sec":20000,"rw_mbytes_per_sec":0,"r_mbytes_per_sec":100,"w_mbytes_per_sec":50}""",
            (await client.ResultAsync("bdev_get_bdevs", Params(("name", "M"))))![0]!["assigned_rate_limits"]!.ToJsonString());
        await client.ResultAsync("vhostd_bdev_set_read_only", Params(("name", "M"), ("read_only", true)));
        Assert.False((await client.ResultAsync("bdev_get_bdevs", Params(("name", "M"))))![0]!["supported_io_types"]!["write"]!.GetValue<bool>());

        await client.ResultAsync("set_vhost_controller_coalescing", Params(("ctrlr", "c"), ("delay_base_us", 50), ("iops_threshold", 10000)));
        var controller = (await client.ResultAsync("vhost_get_controllers"))![0]!;
        Assert.Equal((50, 10000, 0), (controller["delay_base_us"]!.GetValue<int>(), controller["iops_threshold"]!.GetValue<int>(), controller["sessions"]!.AsArray().Count));
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_controller_set_coalescing", Params(("ctrlr", "c"), ("delay_base_us", 1_000_000), ("iops_threshold", 1))));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("vhost_controller_set_coalescing", Params(("ctrlr", "x"), ("delay_base_us", 1), ("iops_threshold", 1))));

        await client.ResultAsync("bdev_null_resize", Params(("name", "N"), ("new_size", 5)));
        await client.ResultAsync("bdev_malloc_resize", Params(("name", "M"), ("new_size", 3)));
        Assert.Equal([6144, 10240], (await client.ResultAsync("bdev_get_bdevs"))!.AsArray().Select(bdev => bdev!["num_blocks"]!.GetValue<int>()));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("bdev_null_resize", Params(("name", "M"), ("new_size", 5))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_null_resize", Params(("name", "N"), ("new_size", 0))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_malloc_resize", Params(("name", "M"), ("new_size", 1 << 29))));

        var saved = (await client.ResultAsync("save_config"))!.AsObject();
        Assert.Equal("""{"M":{"qos":{"rwIosPerSec":20000,"rMbytesPerSec":100,"wMbytesPerSec":50},"readOnly":true}}""", saved["bdevSettings"]!.ToJsonString());
        await using (var again = await RunningHost.StartAsync(manifest: Moved(saved)))
        {
            using var other = new Client(again.SocketPath);
            Assert.Equal((await client.ResultAsync("bdev_get_bdevs"))!.ToJsonString(), (await other.ResultAsync("bdev_get_bdevs"))!.ToJsonString());
            Assert.Equal(50, (await other.ResultAsync("vhost_get_controllers"))![0]!["delay_base_us"]!.GetValue<int>());
        }

        await client.ResultAsync("bdev_set_qos_limit", Params(("name", "M"), ("rw_ios_per_sec", 0), ("r_mbytes_per_sec", 0), ("w_mbytes_per_sec", 0)));
        await client.ResultAsync("vhostd_bdev_set_read_only", Params(("name", "M"), ("read_only", false)));
        await client.ResultAsync("vhost_controller_set_coalescing", Params(("ctrlr", "c"), ("delay_base_us", 0), ("iops_threshold", 60000)));
        await client.ResultAsync("bdev_null_resize", Params(("name", "N"), ("new_size", 1)));
        await client.ResultAsync("bdev_malloc_resize", Params(("name", "M"), ("new_size", 1)));
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(pristine), await client.ResultAsync("save_config")));
    }

    [Fact]
    public async Task A_controller_moves_between_reactors()
    {
        var cpus = Scheduling.GetAllowedCpus().Take(2).ToArray();
        var directory = RunningHost.NewDirectory();
        try
        {
            await using var host = await RunningHost.StartAsync(manifest: new JsonObject
            {
                ["reactors"] = new JsonObject { ["cpumask"] = $"[{string.Join(',', cpus)}]" },
                ["rpc"] = new JsonObject { ["defaultTransport"] = new JsonObject { ["type"] = "vhost-user", ["socket"] = $"{directory}/{{controller}}" } },
            });
            using var client = new Client(host.SocketPath);
            await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "c")));
            await client.ResultAsync("vhost_controller_move", Params(("ctrlr", "c"), ("cpumask", $"[{cpus[^1]}]")));
            Assert.Equal($"0x{1L << cpus[^1]:x}", (await client.ResultAsync("vhost_get_controllers"))![0]!["cpumask"]!.GetValue<string>());
            await client.ResultAsync("vhost_controller_move", Params(("ctrlr", "c"), ("cpumask", "")));
            Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_controller_move", Params(("ctrlr", "c"), ("cpumask", "[4095]"))));
            Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_controller_move", Params(("ctrlr", "c"), ("cpumask", "nonsense"))));
            Assert.Equal("-32602 No such device", await client.ErrorAsync("vhost_controller_move", Params(("ctrlr", "x"), ("cpumask", "0x1"))));
            var reactors = (await client.ResultAsync("framework_get_reactors"))!;
            Assert.Equal(cpus, reactors["reactors"]!.AsArray().Select(reactor => reactor!["lcore"]!.GetValue<int>()));
            Assert.All(reactors["reactors"]!.AsArray(), reactor => Assert.True(reactor!["tid"]!.GetValue<int>() > 0));
            Assert.Equal(Environment.ProcessId, reactors["pid"]!.GetValue<int>());
            Assert.Equal(cpus.Length, (await client.ResultAsync("thread_get_stats"))!["threads"]!.AsArray().Count);
            Assert.Equal(cpus.Length, (await client.ResultAsync("thread_get_pollers"))!["threads"]!.AsArray().Count);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public async Task A_manifest_is_applied_by_the_fewest_steps_and_a_faulty_one_not_at_all()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Malloc("M"));
        await client.ResultAsync("bdev_malloc_create", Malloc("Gone"));
        await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "c")));
        await client.ResultAsync("vhost_scsi_controller_add_target", Params(("ctrlr", "c"), ("scsi_target_num", 0), ("bdev_name", "M")));
        await client.ResultAsync("vhost_scsi_controller_add_target", Params(("ctrlr", "c"), ("scsi_target_num", 1), ("bdev_name", "Gone")));
        var before = (await client.ResultAsync("save_config"))!.AsObject();
        Assert.Equal("""{"operations":[],"restart":[],"warnings":[]}""", (await client.ResultAsync("vhostd_apply", Params(("manifest", before.DeepClone()))))!.ToJsonString());

        var wanted = before.DeepClone().AsObject();
        wanted["bdevs"]!.AsObject().Remove("Gone");
        wanted["bdevs"]!["M"]!["sizeMiB"] = 4;
        wanted["bdevs"]!["New"] = new JsonObject { ["type"] = "null", ["sizeMiB"] = 2 };
        wanted["controllers"]!["c"]!["targets"] = new JsonObject { ["0"] = "M", ["5"] = "New" };
        wanted["controllers"]!["c"]!["coalescing"] = new JsonObject { ["delayBaseUs"] = 20 };
        wanted["controllers"]!["d"] = new JsonObject { ["type"] = "scsi", ["transport"] = "d", ["targets"] = new JsonObject() };
        wanted["transports"]!["d"] = new JsonObject { ["type"] = "vhost-user", ["socket"] = $"{host.Directory}/d" };
        wanted["bdevSettings"] = new JsonObject { ["M"] = new JsonObject { ["readOnly"] = true } };
        wanted["reactors"] = new JsonObject { ["mode"] = "interrupt" };
        string[] steps =
        [
            "remove target 1 of controller c", "remove bdev Gone", "change bdev M", "add bdev New", "set limits and write protection of bdev M",
            "add target 5 to controller c", "coalesce interrupts of controller c", "add controller d and its transport",
        ];
        foreach (var isCheck in new[] { true, false })
        {
            var result = (await client.ResultAsync("vhostd_apply", Params(("manifest", wanted.DeepClone()), ("check", isCheck))))!;
            Assert.Equal(steps, result["operations"]!.AsArray().Select(step => step!.GetValue<string>()));
            Assert.Equal(["reactors takes effect at the next start"], result["restart"]!.AsArray().Select(step => step!.GetValue<string>()));
            Assert.Equal(!isCheck, File.Exists($"{host.Directory}/d"));
        }

        var saved = (await client.ResultAsync("save_config"))!.AsObject();
        wanted.Remove("reactors");
        Assert.True(JsonNode.DeepEquals(wanted, saved), saved.ToJsonString());
        Assert.Equal(8192, (await client.ResultAsync("bdev_get_bdevs", Params(("name", "M"))))![0]!["num_blocks"]!.GetValue<int>());

        // A size that cannot change while it runs: the disk goes and comes, and the target stays.
        wanted["bdevs"]!["M"]!["blockSize"] = 4096;
        Assert.Equal(["change bdev M"], (await client.ResultAsync("vhostd_apply", Params(("manifest", wanted.DeepClone()))))!["operations"]!.AsArray().Select(step => step!.GetValue<string>()));
        Assert.Equal(4096, (await client.ResultAsync("bdev_get_bdevs", Params(("name", "M"))))![0]!["block_size"]!.GetValue<int>());

        wanted["bdevs"]!.AsObject().Remove("New");
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("vhostd_apply", Params(("manifest", wanted.DeepClone()))));
        Assert.Equal(2, (await client.ResultAsync("bdev_get_bdevs"))!.AsArray().Count);
        await client.ResultAsync("load_config", Params(("manifest", before.DeepClone())));
        Assert.True(JsonNode.DeepEquals(before, await client.ResultAsync("save_config")));
    }

    [Fact]
    public async Task SPDKs_configuration_is_given_and_loaded()
    {
        JsonArray subsystems = [];
        JsonNode before;
        await using (var host = await RunningHost.StartAsync())
        {
            using var client = new Client(host.SocketPath);
            await client.ResultAsync("bdev_malloc_create", Malloc("M"));
            await client.ResultAsync("bdev_null_create", Params(("name", "N"), ("num_blocks", 2048), ("block_size", 512)));
            await client.ResultAsync("bdev_set_qos_limit", Params(("name", "M"), ("rw_ios_per_sec", 5000)));
            await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "c")));
            await client.ResultAsync("vhost_scsi_controller_add_target", Params(("ctrlr", "c"), ("scsi_target_num", 3), ("bdev_name", "M")));
            await client.ResultAsync("vhost_create_blk_controller", Params(("ctrlr", "b"), ("dev_name", "N"), ("packed_ring", true), ("transport", "vhost_user_blk")));
            await client.ResultAsync("vhost_controller_set_coalescing", Params(("ctrlr", "b"), ("delay_base_us", 9), ("iops_threshold", 5)));
            foreach (var subsystem in (await client.ResultAsync("framework_get_subsystems"))!.AsArray())
            {
                var name = subsystem!["subsystem"]!.GetValue<string>();
                subsystems.Add(new JsonObject { ["subsystem"] = name, ["config"] = (await client.ResultAsync("framework_get_config", Params(("name", name))))!.DeepClone() });
            }

            Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("framework_get_config", Params(("name", "x"))));
            before = (await client.ResultAsync("bdev_get_bdevs"))!;
        }

        await using var again = await RunningHost.StartAsync();
        using var other = new Client(again.SocketPath);
        Assert.Equal("-32602 Invalid parameters", await other.ErrorAsync("load_config"));
        Assert.Equal("-32601 Method not found", await other.ErrorAsync("load_config", Params(("subsystems", JsonNode.Parse("""[{"config":[{"method":"fly"}]}]""")))));
        await other.ResultAsync("load_config", Params(("subsystems", subsystems)));
        Assert.Equal(before.ToJsonString(), (await other.ResultAsync("bdev_get_bdevs"))!.ToJsonString());
        Assert.Equal(["b", "c"], (await other.ResultAsync("vhost_get_controllers"))!.AsArray().Select(controller => controller!["ctrlr"]!.GetValue<string>()).Order());
    }

    [Fact]
    public async Task Each_type_of_bdev_has_a_method_made_from_its_options()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        var names = (await client.ResultAsync("rpc_get_methods"))!.AsArray().Select(name => name!.GetValue<string>()).ToArray();
        foreach (var type in new[] { "file", "nvme", "virtio_scsi" })
        {
            Assert.Contains($"bdev_{type}_create", names);
            Assert.Contains($"bdev_{type}_delete", names);
        }

        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_file_create", Params(("name", "F"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_file_create", Params(("name", "F"), ("path", "/x"), ("wings", 2))));
        var file = Path.Combine(host.Directory, "disk.img");
        await File.WriteAllBytesAsync(file, new byte[1 << 20], TestContext.Current.CancellationToken);
        Assert.Equal("""["F"]""", (await client.ResultAsync("bdev_file_create", Params(("name", "F"), ("path", file), ("readOnly", true), ("blockSize", 4096))))!.ToJsonString());
        Assert.Equal(4096, (await client.ResultAsync("bdev_get_bdevs", Params(("name", "F"))))![0]!["block_size"]!.GetValue<int>());
        await client.ResultAsync("bdev_aio_rescan", Params(("name", "F")));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("bdev_nvme_delete", Params(("name", "F"))));
        await client.ResultAsync("bdev_file_delete", Params(("name", "F")));
        await client.ResultAsync("vhostd_bdev_malloc_create", Params(("name", "M"), ("sizeMiB", 1)));
    }

    [Fact]
    public async Task The_framework_and_the_log_answer_as_SPDKs()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        Assert.StartsWith("-1 Method may only be called before framework is initialized", await client.ErrorAsync("framework_start_init"), StringComparison.Ordinal);
        Assert.True((await client.ResultAsync("framework_wait_init"))!.GetValue<bool>());
        Assert.Equal("static", (await client.ResultAsync("framework_get_scheduler"))!["scheduler_name"]!.GetValue<string>());
        await client.ResultAsync("framework_set_scheduler", Params(("name", "static")));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("framework_set_scheduler", Params(("name", "dynamic"))));
        Assert.Equal("INFO", (await client.ResultAsync("log_get_level"))!.GetValue<string>());
        await client.ResultAsync("log_set_print_level", Params(("level", "debug")));
        Assert.Equal("DEBUG", (await client.ResultAsync("log_get_print_level"))!.GetValue<string>());
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("log_set_level", Params(("level", "loud"))));
        await client.ResultAsync("set_log_flag", Params(("flag", "rpc")));
        Assert.True((await client.ResultAsync("log_get_flags"))!["rpc"]!.GetValue<bool>());
        await client.ResultAsync("log_clear_flag", Params(("flag", "all")));
        Assert.All((await client.ResultAsync("log_get_flags"))!.AsObject(), flag => Assert.False(flag.Value!.GetValue<bool>()));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("log_set_flag", Params(("flag", "x"))));
        Assert.Equal("-32602 File exists", await client.ErrorAsync("virtio_blk_create_transport", Params(("name", "vhost_user_blk"))));
        Assert.Equal("""[{"name":"vhost_user_blk"}]""", (await client.ResultAsync("virtio_blk_get_transports"))!.ToJsonString());
        Assert.Equal("[]", (await client.ResultAsync("bdev_nvme_get_controllers"))!.ToJsonString());
        Assert.Equal("[]", (await client.ResultAsync("get_virtio_scsi_devs"))!.ToJsonString());
        await client.ResultAsync("bdev_nvme_set_hotplug", Params(("enable", false), ("period_us", 1000)));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_nvme_set_hotplug", Params(("enable", true))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_nvme_set_options", Params(("timeout_us", 5))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_get_bdevs", Params(("name", "x"), ("timeout", 50))));
    }

    [Fact]
    public async Task A_delete_while_front_ends_come_and_go_neither_hangs_nor_leaks()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        for (var round = 0; round < 4; round++)
        {
            await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "c")));
            var path = Path.Combine(host.Directory, "c");
            using var stop = new CancellationTokenSource();
            var visitors = Enumerable.Range(0, 2).Select(_ => Task.Run(async () =>
            {
                while (!stop.IsCancellationRequested)
                {
                    try
                    {
                        using var visitor = new Client(path);
                        await Task.Yield();
                    }
                    catch (System.Net.Sockets.SocketException)
                    {
                        // Deleted, or not yet again.
                        await Task.Delay(1);
                    }
                }
            })).ToArray();
            // A front-end that is there at the moment is in the way; each answer comes within the client's limit. Where they leave no gap, they go in the end.
            for (var attempt = 0; (await client.CallAsync("vhost_delete_controller", Params(("ctrlr", "c")))).ContainsKey("error"); attempt++)
            {
                if (attempt == 500)
                {
                    await stop.CancelAsync();
                }
            }

            await stop.CancelAsync();
            await Task.WhenAll(visitors);
            Assert.False(File.Exists(path));
            Assert.Empty(host.Host.GetStatus().Controllers);
        }
    }

    [Fact]
    public async Task A_plugin_folder_that_is_new_is_loaded_by_an_apply()
    {
        var plugins = RunningHost.NewDirectory();
        try
        {
            foreach (var id in new[] { "malloc", "vhost-scsi", "vhost-user-transport" })
            {
                CopyPlugin(id, plugins);
            }

            await using var host = await RunningHost.StartAsync(pluginDirectory: plugins);
            using var client = new Client(host.SocketPath);
            Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_null_create", Params(("name", "N"), ("num_blocks", 2048), ("block_size", 512))));
            CopyPlugin("null", plugins);
            File.SetLastWriteTimeUtc(Path.Combine(plugins, "malloc", "malloc.dll"), DateTime.UtcNow.AddHours(1));
            var wanted = (await client.ResultAsync("save_config"))!.AsObject();
            wanted["bdevs"] = new JsonObject { ["N"] = new JsonObject { ["type"] = "null", ["sizeMiB"] = 1 } };
            var result = (await client.ResultAsync("vhostd_apply", Params(("manifest", wanted.DeepClone()))))!;
            Assert.Equal(["load plugin null (null)", "add bdev N"], result["operations"]!.AsArray().Select(step => step!.GetValue<string>()));
            Assert.Contains("malloc.dll was changed; the loaded one serves until the next start", Assert.Single(result["restart"]!.AsArray())!.GetValue<string>(), StringComparison.Ordinal);
            await client.ResultAsync("bdev_null_resize", Params(("name", "N"), ("new_size", 2)));
        }
        finally
        {
            Directory.Delete(plugins, recursive: true);
        }
    }

    private static void CopyPlugin(string id, string to)
    {
        var target = Directory.CreateDirectory(Path.Combine(to, id)).FullName;
        foreach (var file in Directory.GetFiles(Path.Combine(RunningHost.VhostdDirectory, "plugins", id)))
        {
            File.Copy(file, Path.Combine(target, Path.GetFileName(file)));
        }
    }

    /// <summary>The same with other sockets, since the first host still has its own.</summary>
    private static JsonObject Moved(JsonObject manifest)
    {
        var moved = manifest.DeepClone().AsObject();
        foreach (var (_, transport) in moved[ManifestDiff.TransportsKey]!.AsObject())
        {
            transport!["socket"] = transport["socket"]!.GetValue<string>() + ".2";
        }

        return moved;
    }
}
