using System.Text.Json.Nodes;
using Vhost.Host.Rpc;

namespace Vhost.Rpc.Tests;

/// <summary>What the methods do, with the real plugins.</summary>
public sealed class SurfaceTests
{
    private static JsonObject Params(params (string Key, JsonNode Value)[] values) => new(values.Select(value => KeyValuePair.Create(value.Key, (JsonNode?)value.Value)));

    private static JsonObject Malloc(string name) => Params(("name", name), ("num_blocks", 2048), ("block_size", 512));

    [Theory]
    [InlineData("2019")]
    [InlineData("current")]
    public async Task The_bytes_of_both_generations_are_answered_as_SPDK_answers(string generation)
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        var file = Path.Combine(host.Directory, "disk.img");
        await using (var disk = File.Create(file))
        {
            disk.SetLength(4 << 20);
        }

        string Fill(string text) => text.Replace("@FILE@", file, StringComparison.Ordinal).Replace("@DIR@", host.Directory, StringComparison.Ordinal)
            .Replace("@CPU@", (1L << host.Host.GetStatus().Reactors[0].CpuIndex).ToString("x", null), StringComparison.Ordinal);
        var fixtures = Path.Combine(AppContext.BaseDirectory, "fixtures");
        var requests = generation == "2019"
            ? await File.ReadAllLinesAsync(Path.Combine(fixtures, "nine-calls.2019.jsonl"), TestContext.Current.CancellationToken)
            : (await File.ReadAllTextAsync(Path.Combine(fixtures, "nine-calls.current.txt"), TestContext.Current.CancellationToken)).Split("\n%%\n");
        var replies = await File.ReadAllLinesAsync(Path.Combine(fixtures, $"nine-calls.{generation}.replies.jsonl"), TestContext.Current.CancellationToken);
        Assert.Equal(13, requests.Length);
        Assert.Equal(requests.Length, replies.Length);
        for (var i = 0; i < requests.Length; i++)
        {
            var reply = await client.ExchangeAsync(Fill(requests[i]));
            if (replies[i] != "@BDEVS@")
            {
                Assert.Equal(Fill(replies[i]), reply);
                continue;
            }

            var bdevs = JsonNode.Parse(reply!)!["result"]!.AsArray();
            Assert.Equal(["Malloc0", "NVMe1n1", "VirtioScsi0t0"], bdevs.Select(bdev => bdev!["name"]!.GetValue<string>()));
            Assert.Equal(
                """{"name":"Malloc0","aliases":[],"product_name":"Malloc disk","block_size":512,"num_blocks":131072,"assigned_rate_limits":{"rw_ios_per_sec":0,"rw_mbytes_per_sec":0@MORE@},"claimed":true,"supported_io_types":{"read":true,"write":true,"unmap":true,"write_zeroes":true,"flush":true,"reset":true,"nvme_admin":false,"nvme_io":false},"driver_specific":{}}"""
                    .Replace("@MORE@", generation == "2019" ? "" : ",\"r_mbytes_per_sec\":0,\"w_mbytes_per_sec\":0", StringComparison.Ordinal),
                bdevs[0]!.ToJsonString());
        }

        Assert.Empty(host.Host.GetStatus().Controllers);
        Assert.False(File.Exists(Path.Combine(host.Directory, "vhost.0")));
    }

    [Fact]
    public async Task A_controller_needs_a_transport_and_the_error_says_where_from()
    {
        await using var host = await RunningHost.StartAsync(manifest: []);
        using var client = new Client(host.SocketPath);
        var error = await client.ErrorAsync("vhost_create_scsi_controller", Params(("ctrlr", "vhost.0")));
        Assert.StartsWith("-32602 ", error, StringComparison.Ordinal);
        Assert.Contains("rpc.defaultTransport", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_place_for_one_controller_is_busy_for_a_second()
    {
        var directory = RunningHost.NewDirectory();
        try
        {
            await using var host = await RunningHost.StartAsync(manifest: new JsonObject
            {
                ["rpc"] = new JsonObject { ["defaultTransport"] = new JsonObject { ["type"] = "vhost-user", ["socket"] = $"{directory}/one" } },
            });
            using var client = new Client(host.SocketPath);
            await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "a")));
            Assert.Equal("-32602 Device or resource busy", await client.ErrorAsync("vhost_create_scsi_controller", Params(("ctrlr", "b"))));
            await client.ResultAsync("vhost_delete_controller", Params(("ctrlr", "a")));
            await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "b")));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public async Task Scsi_controllers_and_their_targets_succeed_and_fail_as_SPDKs_do()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        JsonObject Target(int number, string bdev = "M", string controller = "c") => Params(("ctrlr", controller), ("scsi_target_num", number), ("bdev_name", bdev));
        foreach (var name in new[] { "M", "N", "O" })
        {
            Assert.Equal(name, (await client.ResultAsync("bdev_malloc_create", Malloc(name)))!.GetValue<string>());
        }

        Assert.Equal("-32602 File exists", await client.ErrorAsync("bdev_malloc_create", Malloc("M")));
        Assert.True((await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "c"))))!.GetValue<bool>());
        Assert.Equal("-32602 File exists", await client.ErrorAsync("vhost_create_scsi_controller", Params(("ctrlr", "c"))));
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_create_scsi_controller", Params(("ctrlr", "a/b"))));
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_create_scsi_controller", Params(("ctrlr", "d"), ("cpumask", "0xffffffffffffffff"))));
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_create_scsi_controller", Params(("ctrlr", "d"), ("cpumask", "none"))));

        Assert.Equal("-32602 No such device", await client.ErrorAsync("vhost_scsi_controller_add_target", Target(0, controller: "x")));
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_scsi_controller_add_target", Target(0, "x")));
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_scsi_controller_add_target", Target(256)));
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_scsi_controller_add_target", Target(-2)));
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("add_vhost_scsi_lun", Target(-1)));
        Assert.Equal(1, (await client.ResultAsync("vhost_scsi_controller_add_target", Target(1)))!.GetValue<int>());
        Assert.Equal("-32602 File exists", await client.ErrorAsync("vhost_scsi_controller_add_target", Target(1, "N")));
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_scsi_controller_add_target", Target(5)));
        Assert.Equal(0, (await client.ResultAsync("vhost_scsi_controller_add_target", Target(-1, "N")))!.GetValue<int>());
        Assert.Equal(2, (await client.ResultAsync("vhost_scsi_controller_add_target", Target(-1, "O")))!.GetValue<int>());
        Assert.Equal(["targets.0", "targets.1", "targets.2"], host.Host.GetStatus().Controllers[0].Bdevs.Select(bdev => bdev.OptionPath).Order());

        Assert.Equal("-32602 Device or resource busy", await client.ErrorAsync("vhost_delete_controller", Params(("ctrlr", "c"))));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("vhost_scsi_controller_remove_target", Params(("ctrlr", "c"), ("scsi_target_num", 7))));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("vhost_scsi_controller_remove_target", Params(("ctrlr", "x"), ("scsi_target_num", 0))));
        Assert.True((await client.ResultAsync("bdev_malloc_delete", Params(("name", "N"))))!.GetValue<bool>());
        Assert.Equal(2, host.Host.GetStatus().Controllers[0].Bdevs.Count);
        foreach (var number in new[] { 1, 2 })
        {
            Assert.True((await client.ResultAsync("vhost_scsi_controller_remove_target", Params(("ctrlr", "c"), ("scsi_target_num", number))))!.GetValue<bool>());
        }

        Assert.True((await client.ResultAsync("vhost_delete_controller", Params(("ctrlr", "c"))))!.GetValue<bool>());
        Assert.Equal("-32602 No such device", await client.ErrorAsync("vhost_delete_controller", Params(("ctrlr", "c"))));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("vhost_get_controllers", Params(("name", "c"))));
    }

    [Fact]
    public async Task A_delayed_controller_opens_its_socket_when_it_is_started()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Malloc("M"));
        await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "c"), ("delay", true)));
        Assert.Equal("-32602 File exists", await client.ErrorAsync("vhost_create_scsi_controller", Params(("ctrlr", "c"))));
        Assert.Equal(0, (await client.ResultAsync("vhost_scsi_controller_add_target", Params(("ctrlr", "c"), ("scsi_target_num", -1), ("bdev_name", "M"))))!.GetValue<int>());
        Assert.False(File.Exists(Path.Combine(host.Directory, "c")));
        Assert.Equal($"{host.Directory}/c", (await client.ResultAsync("vhost_get_controllers"))![0]!["socket"]!.GetValue<string>());
        await client.ResultAsync("vhost_start_scsi_controller", Params(("ctrlr", "c")));
        Assert.True(File.Exists(Path.Combine(host.Directory, "c")));
        Assert.Equal("M", (await client.ResultAsync("vhost_get_controllers"))![0]!["backend_specific"]!["scsi"]![0]!["luns"]![0]!["bdev_name"]!.GetValue<string>());
        Assert.Equal("-32602 File exists", await client.ErrorAsync("vhost_start_scsi_controller", Params(("ctrlr", "c"))));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("vhost_start_scsi_controller", Params(("ctrlr", "x"))));
    }

    [Fact]
    public async Task Block_controllers_hold_their_bdev()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Malloc("M"));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("vhost_create_blk_controller", Params(("ctrlr", "c"), ("dev_name", "x"))));
        await client.ResultAsync("construct_vhost_blk_controller", Params(("ctrlr", "c"), ("dev_name", "M"), ("readonly", true)));
        Assert.Equal("""{"block":{"readonly":true,"bdev":"M"}}""", (await client.ResultAsync("vhost_get_controllers", Params(("name", "c"))))![0]!["backend_specific"]!.ToJsonString());
        Assert.Equal("-32602 Invalid argument", await client.ErrorAsync("vhost_scsi_controller_add_target", Params(("ctrlr", "c"), ("scsi_target_num", 0), ("bdev_name", "M"))));
        Assert.Equal("-32602 Device or resource busy", await client.ErrorAsync("delete_bdev", Params(("name", "M"))));
        await client.ResultAsync("remove_vhost_controller", Params(("ctrlr", "c")));
        Assert.True((await client.ResultAsync("delete_bdev", Params(("name", "M"))))!.GetValue<bool>());
    }

    [Fact]
    public async Task A_controller_with_a_front_end_is_busy()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "c")));
        using (var frontEnd = new Client(Path.Combine(host.Directory, "c")))
        {
            for (var i = 0; i < 6000 && !host.Host.GetStatus().Controllers[0].TransportState.StartsWith("connected", StringComparison.Ordinal); i++)
            {
                await Task.Delay(20, TestContext.Current.CancellationToken);
            }

            Assert.Equal("-32602 Device or resource busy", await client.ErrorAsync("vhost_delete_controller", Params(("ctrlr", "c"))));
        }

        for (var i = 0; i < 6000 && host.Host.GetStatus().Controllers[0].TransportState.StartsWith("connected", StringComparison.Ordinal); i++)
        {
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }

        await client.ResultAsync("vhost_delete_controller", Params(("ctrlr", "c")));
    }

    [Fact]
    public async Task Bdevs_are_created_deleted_and_refused()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        Assert.Equal("Malloc0", (await client.ResultAsync("construct_malloc_bdev", Params(("num_blocks", 256), ("block_size", 4096), ("uuid", "5f0c5ab5-9f0a-4b58-8f4f-6f1d9e3f2f10"))))!.GetValue<string>());
        Assert.Equal("Malloc1", (await client.ResultAsync("bdev_malloc_create", Params(("num_blocks", 2048), ("block_size", 512))))!.GetValue<string>());
        var malloc = (await client.ResultAsync("get_bdevs", Params(("name", "Malloc0"))))![0]!;
        Assert.Equal((4096, 256, "5f0c5ab5-9f0a-4b58-8f4f-6f1d9e3f2f10", false), (malloc["block_size"]!.GetValue<int>(), malloc["num_blocks"]!.GetValue<int>(), malloc["uuid"]!.GetValue<string>(), malloc["claimed"]!.GetValue<bool>()));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_malloc_create", Params(("num_blocks", 1), ("block_size", 512))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_malloc_create", Params(("num_blocks", ulong.MaxValue), ("block_size", 512))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_malloc_create", Params(("num_blocks", 3145728), ("block_size", 500))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_malloc_create", Params(("num_blocks", 2048), ("block_size", 512), ("uuid", "no"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_malloc_create", Malloc("a b")));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("bdev_null_delete", Params(("name", "Malloc0"))));
        await client.ResultAsync("bdev_malloc_delete", Params(("name", "Malloc0")));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("bdev_malloc_delete", Params(("name", "Malloc0"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("delete_bdev", Params(("name", "Malloc0"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_get_bdevs", Params(("name", "Malloc0"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_get_iostat", Params(("name", "Malloc0"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("get_bdevs_iostat", Params(("name", "Malloc0"))));

        await client.ResultAsync("bdev_null_create", Params(("name", "Null0"), ("num_blocks", 2048), ("block_size", 512)));
        await client.ResultAsync("bdev_null_delete", Params(("name", "Null0")));
        Assert.Equal("-32603 Internal error", await client.ErrorAsync("bdev_aio_create", Params(("name", "F"), ("filename", $"{host.Directory}/none"))));
        var file = Path.Combine(host.Directory, "disk.img");
        await File.WriteAllBytesAsync(file, new byte[1 << 20], TestContext.Current.CancellationToken);
        await client.ResultAsync("bdev_aio_create", Params(("name", "F"), ("filename", file), ("readonly", true)));
        Assert.False((await client.ResultAsync("bdev_get_bdevs", Params(("name", "F"))))![0]!["supported_io_types"]!["write"]!.GetValue<bool>());
        await client.ResultAsync("bdev_aio_delete", Params(("name", "F")));
        Assert.True(File.Exists(file));

        // No such device is there; what there is of it is gone again, so the name is free.
        for (var i = 0; i < 2; i++)
        {
            Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_nvme_attach_controller", Params(("name", "N"), ("trtype", "PCIe"), ("traddr", "ffff:ff:1f.7"))));
            Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("construct_virtio_pci_scsi_bdev", Params(("name", "V"), ("pci_address", "ffff:ff:1f.7"))));
        }

        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("construct_nvme_bdev", Params(("name", "N"), ("trtype", "RDMA"), ("traddr", "1.2.3.4"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("bdev_virtio_attach_controller", Params(("name", "V"), ("trtype", "user"), ("traddr", "/x"), ("dev_type", "scsi"))));
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("construct_virtio_dev", Params(("name", "V"), ("trtype", "pci"), ("traddr", "0000:00:05.0"), ("dev_type", "blk"))));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("bdev_nvme_detach_controller", Params(("name", "N"))));
        Assert.Equal("-32602 No such device", await client.ErrorAsync("bdev_virtio_detach_controller", Params(("name", "V"))));
    }

    [Fact]
    public async Task Counters_are_reported_in_both_forms()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Malloc("M"));
        var current = (await client.ResultAsync("bdev_get_iostat"))!;
        Assert.Equal(["tick_rate", "ticks", "bdevs"], current.AsObject().Select(pair => pair.Key));
        Assert.Equal("M", current["bdevs"]![0]!["name"]!.GetValue<string>());
        var older = (await client.ResultAsync("get_bdevs_iostat", Params(("name", "M"))))!.AsArray();
        Assert.Equal(["tick_rate"], older[0]!.AsObject().Select(pair => pair.Key));
        Assert.Equal(["name", "bytes_read", "num_read_ops", "bytes_written", "num_write_ops", "read_latency_ticks", "write_latency_ticks"], older[1]!.AsObject().Select(pair => pair.Key));
    }

    [Fact]
    public async Task The_process_is_described_and_stopped()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        var names = (await client.ResultAsync("rpc_get_methods"))!.AsArray().Select(name => name!.GetValue<string>()).ToArray();
        Assert.Equal(host.Surface.Names.Order(StringComparer.Ordinal), names);
        Assert.Empty(new RpcSurface(null).Names.Except(names));
        Assert.Equal(host.Surface.Methods.Count, (await client.ResultAsync("rpc_get_methods", Params(("include_aliases", false))))!.AsArray().Count);
        Assert.StartsWith("vhostd ", (await client.ResultAsync("spdk_get_version"))!["version"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.Equal("running", (await client.ResultAsync("vhostd_get_status"))!["state"]!.GetValue<string>());
        Assert.Equal("-32602 Invalid parameters", await client.ErrorAsync("spdk_kill_instance", Params(("sig_name", "SIGUSR1"))));
        Assert.Empty(host.Signals);
        Assert.True((await client.ResultAsync("kill_instance", Params(("sig_name", "SIGTERM"))))!.GetValue<bool>());
        Assert.Equal(["SIGTERM"], host.Signals);
    }

    [Fact]
    public async Task What_is_saved_starts_the_same_state_again()
    {
        JsonNode saved;
        JsonNode before;
        var directory = RunningHost.NewDirectory();
        try
        {
            var template = new JsonObject { ["type"] = "vhost-user", ["socket"] = $"{directory}/{{controller}}" };
            await using (var host = await RunningHost.StartAsync(manifest: new JsonObject { ["rpc"] = new JsonObject { ["defaultTransport"] = template } }))
            {
                using var client = new Client(host.SocketPath);
                await client.ResultAsync("bdev_malloc_create", Malloc("M"));
                await client.ResultAsync("bdev_malloc_create", Malloc("N"));
                await client.ResultAsync("vhost_create_scsi_controller", Params(("ctrlr", "vhost.0"), ("cpumask", $"0x{1L << host.Host.GetStatus().Reactors[0].CpuIndex:x}")));
                await client.ResultAsync("vhost_scsi_controller_add_target", Params(("ctrlr", "vhost.0"), ("scsi_target_num", 4), ("bdev_name", "M")));
                await client.ResultAsync("vhost_create_blk_controller", Params(("ctrlr", "blk"), ("dev_name", "N")));
                saved = (await client.ResultAsync("save_config"))!;
                before = (await client.ResultAsync("vhost_get_controllers"))!;
            }

            await using var again = await RunningHost.StartAsync(manifest: saved.AsObject());
            using var other = new Client(again.SocketPath);
            Assert.Equal(before.ToJsonString(), (await other.ResultAsync("vhost_get_controllers"))!.ToJsonString());
            Assert.Equal(saved.ToJsonString(), (await other.ResultAsync("save_config"))!.ToJsonString());
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public async Task Two_clients_that_fight_over_one_controller_each_get_an_answer_and_one_wins()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        await client.ResultAsync("bdev_malloc_create", Malloc("M"));
        var outcomes = await Task.WhenAll(Enumerable.Range(0, 8).Select(async _ =>
        {
            using var fighter = new Client(host.SocketPath);
            var created = await fighter.CallAsync("vhost_create_scsi_controller", Params(("ctrlr", "c")));
            var added = await fighter.CallAsync("vhost_scsi_controller_add_target", Params(("ctrlr", "c"), ("scsi_target_num", 0), ("bdev_name", "M")));
            return (Created: created.ContainsKey("result"), Added: added.ContainsKey("result"));
        }));
        Assert.Equal((1, 1), (outcomes.Count(outcome => outcome.Created), outcomes.Count(outcome => outcome.Added)));
    }

    /// <summary>Every method refuses what it does not know, what is missing, and what has the wrong type; nothing is done then.</summary>
    [Fact]
    public async Task Every_method_checks_its_parameters()
    {
        await using var host = await RunningHost.StartAsync();
        using var client = new Client(host.SocketPath);
        var surface = host.Surface;
        foreach (var name in surface.Names)
        {
            var method = surface.Find(name)!;
            var wanted = method.Group == RpcGroup.Controllers ? "-32602 Invalid argument" : "-32602 Invalid parameters";
            Assert.Equal(wanted, await client.ErrorAsync(name, Params(("no_such_parameter", 1))));
            foreach (var parameter in method.Parameters)
            {
                if (parameter.Type == RpcType.Any)
                {
                    continue;
                }

                JsonNode wrong = parameter.Type == RpcType.String ? 5 : "text";
                Assert.Equal(wanted, await client.ErrorAsync(name, Params((parameter.Name, wrong))));
                Assert.Equal(wanted, await client.ErrorAsync(name, Params((parameter.Name, parameter.Type == RpcType.Object ? new JsonArray() : new JsonObject()))));
            }

            if (method.Parameters.Any(parameter => parameter.IsRequired))
            {
                Assert.Equal(wanted, await client.ErrorAsync(name));
            }
        }

        Assert.Empty(host.Signals);
        Assert.Contains("-32602", await client.ExchangeAsync("""{"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs","params":["M"]}"""), StringComparison.Ordinal);
        Assert.Contains("there twice", await client.ExchangeAsync("""{"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs","params":{"name":"a","name":"a"}}"""), StringComparison.Ordinal);
        Assert.Contains("-32602", await client.ExchangeAsync("""{"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs","params":{"\ud800":"a"}}"""), StringComparison.Ordinal);
        Assert.Contains("-32602", await client.ExchangeAsync("""{"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs","params":{"name":"\ud800"}}"""), StringComparison.Ordinal);
    }

    [Fact]
    public void The_page_is_that_of_the_code() =>
        Assert.Equal(RpcPage.Make(), File.ReadAllText(Path.Combine(RunningHost.RepositoryRoot, "docs/rpc.md")));
}
