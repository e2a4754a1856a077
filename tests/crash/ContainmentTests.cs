using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Testing.FrontEnd;

namespace Vhost.Crash.Tests;

/// <summary>A bdev plugin that breaks its contract is named, and everybody else goes on.</summary>
public sealed class ContainmentTests
{
    private const ulong FaultySector = 1024;

    private static string[] Plugins =>
        ["--plugins", Path.Combine(TestEnvironment.VhostdDirectory, "plugins"), "--plugins", Path.Combine(AppContext.BaseDirectory, "fixtures")];

    /// <summary>What the plugin does, what its guest sees, and what the log says.</summary>
    [Theory]
    [InlineData("throw", 1, "it failed to take requests")]
    [InlineData("throwOnOpen", 1, "it failed to open a channel")]
    [InlineData("twice", 0, "came late or twice")]
    [InlineData("later", 0, "came late or twice")]
    [InlineData("lieLater", 0, "changed to what is impossible")]
    public async Task A_plugin_that_breaks_its_contract_is_named_and_quarantined(string fault, byte status, string named)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            await using Neighbours neighbours = await Neighbours.StartAsync(scenario, fault);
            await Task.Run(() =>
            {
                using var guest = new BadGuest(neighbours.Socket);
                Assert.Equal(fault == "throwOnOpen" ? 1 : 0, guest.Read(0));
                Assert.Equal(status, guest.Read(FaultySector));
            });
            await Deadline.UntilAsync($"the log says: {named}", TimeSpan.FromSeconds(60), () => neighbours.Vhostd.Log.Contains(named, StringComparison.Ordinal));
            await neighbours.CheckOtherAsync();

            // From now on its requests fail, those too that were right before; another connection changes nothing about that.
            await Task.Run(() =>
            {
                using var guest = new BadGuest(neighbours.Socket);
                Assert.Equal(1, guest.Read(0));
            });
            await Deadline.UntilAsync("the bdev is named", TimeSpan.FromSeconds(60), () => neighbours.Vhostd.Log.Contains("bdev Faulty", StringComparison.Ordinal));
        });
    }

    [Fact]
    public async Task A_second_completion_of_a_request_that_is_under_way_again_is_not_taken_for_its_completion()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            await using Neighbours neighbours = await Neighbours.StartAsync(scenario, "stale");
            await Task.Run(() =>
            {
                using (var guest = new BadGuest(neighbours.Socket))
                {
                    Assert.Equal(0, guest.Read(FaultySector));
                    guest.Submit(FaultySector);
                    Assert.Equal(0xff, guest.StatusAfter(() => neighbours.Vhostd.Log.Contains("came late or twice", StringComparison.Ordinal)));
                }

                // The request that was never done holds the session up to the drain limit.
                using var next = new BadGuest(neighbours.Socket, TimeSpan.FromSeconds(60));
                Assert.Equal(1, next.Read(0));
            });
            await neighbours.CheckOtherAsync();
        });
    }

    [Fact]
    public async Task A_plugin_that_promises_more_blocks_than_it_has_fails_alone()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            await using Neighbours neighbours = await Neighbours.StartAsync(scenario, "growBeyondMemory");
            await Task.Run(() =>
            {
                using var guest = new BadGuest(neighbours.Socket);
                Assert.Equal(0, guest.Read(FaultySector));
                // The new size reaches the device soon; until then the host refuses the range.
                long limit = Environment.TickCount64 + 60_000;
                while (!neighbours.Vhostd.Log.Contains("it failed to take requests", StringComparison.Ordinal) && Environment.TickCount64 < limit)
                {
                    Assert.Equal(1, guest.Read(1 << 19));
                }
            });
            Assert.Contains("it failed to take requests", neighbours.Vhostd.Log, StringComparison.Ordinal);
            await neighbours.CheckOtherAsync();
        });
    }

    [Fact]
    public async Task A_plugin_with_an_impossible_size_is_refused_at_the_start()
    {
        await using var scenario = new Scenario();
        string file = scenario.FilePath("manifest.json");
        JsonObject manifest = new ManifestBuilder().Bdev("Faulty", "faulty", new() { ["fault"] = "lieAtStart" }).Blk("vhost.0", scenario.FilePath("s"), "Faulty").Build();
        await File.WriteAllTextAsync(file, manifest.ToJsonString(), TestContext.Current.CancellationToken);
        using var vhostd = ChildProcess.Start("vhostd", Path.Combine(TestEnvironment.VhostdDirectory, "vhostd"), ["run", file, .. Plugins]);
        Assert.True(vhostd.WaitForExit(TimeSpan.FromSeconds(120)));
        Assert.Equal(1, vhostd.ExitCode);
        Assert.Contains("the block size 1000 is not a power of two", vhostd.StandardError, StringComparison.Ordinal);
        Assert.Contains("Faulty", vhostd.StandardError, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_plugin_that_never_completes_costs_its_guest_the_session_and_nobody_else_anything()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            await using Neighbours neighbours = await Neighbours.StartAsync(scenario, "never");
            await Task.Run(() =>
            {
                using (var guest = new BadGuest(neighbours.Socket))
                {
                    guest.Submit(FaultySector);
                    Assert.Equal(0, guest.Read(0));
                }

                // The controller is free again after the drain limit.
                using var next = new BadGuest(neighbours.Socket, TimeSpan.FromSeconds(60));
                Assert.Equal(0, next.Read(0));
            });
            await Deadline.UntilAsync("what is still in use is told", TimeSpan.FromSeconds(60), () => neighbours.Vhostd.Log.Contains("still use", StringComparison.Ordinal));
            await neighbours.CheckOtherAsync();
            Assert.Equal(0, neighbours.Vhostd.Stop(TimeSpan.FromSeconds(60)));
        });
    }

    [Fact]
    public async Task A_plugin_that_blocks_its_reactor_is_named_and_vhostd_ends_for_its_supervisor_to_start_it_again()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            await using Neighbours neighbours = await Neighbours.StartAsync(scenario, "block", manifest =>
                manifest["reactors"] = new JsonObject { ["watchdog"] = new JsonObject { ["exitAfterSeconds"] = 3 } });
            await Task.Run(() =>
            {
                using var guest = new BadGuest(neighbours.Socket);
                guest.Submit(FaultySector);
                guest.WaitClosed();
            });
            Assert.Equal(1, neighbours.Vhostd.WaitForExit(TimeSpan.FromSeconds(120)));
            string log = neighbours.Vhostd.Log;
            Assert.Contains("has not returned from poller 'vhost.faulty queue 0'", log, StringComparison.Ordinal);
            Assert.Contains("reactors.watchdog.policy: exit", log, StringComparison.Ordinal);

            // The same reactor served the other guest: it goes on with what it had under way as soon as the next one is there.
            await neighbours.RestartAsync();
            await neighbours.CheckOtherAsync();
        });
    }

    [Fact]
    public async Task With_the_policy_report_a_blocked_reactor_is_named_and_vhostd_stays()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            await using Neighbours neighbours = await Neighbours.StartAsync(scenario, "block", manifest =>
                manifest["reactors"] = new JsonObject { ["watchdog"] = new JsonObject { ["policy"] = "report", ["exitAfterSeconds"] = 2 } }, hasOther: false);
            await Task.Run(() =>
            {
                using var guest = new BadGuest(neighbours.Socket);
                guest.Submit(FaultySector);
            });
            await Deadline.UntilAsync("the culprit is named", TimeSpan.FromSeconds(60), () => neighbours.Vhostd.Log.Contains("has not returned from poller 'vhost.faulty queue 0'", StringComparison.Ordinal));
            await Task.Delay(TimeSpan.FromSeconds(4), TestContext.Current.CancellationToken);
            Assert.DoesNotContain("vhostd ends", neighbours.Vhostd.Log, StringComparison.Ordinal);
            Assert.False(neighbours.Vhostd.HasExited);
        });
    }

    /// <summary>A vhostd with a faulty bdev, and a guest on another bdev that must not notice.</summary>
    private sealed class Neighbours : IAsyncDisposable
    {
        private readonly Scenario _scenario;
        private readonly JsonObject _manifest;
        private readonly Guest? _other;
        private readonly Task _life;

        private Neighbours(Scenario scenario, JsonObject manifest, VhostdProcess vhostd, Guest? other)
        {
            (_scenario, _manifest, Vhostd, _other) = (scenario, manifest, vhostd, other);
            _life = other is null ? Task.CompletedTask : Task.Factory.StartNew(other.Run, TaskCreationOptions.LongRunning);
        }

        public VhostdProcess Vhostd { get; private set; }

        public string Socket => _scenario.FilePath("faulty.sock");

        public static async Task<Neighbours> StartAsync(Scenario scenario, string fault, Action<JsonObject>? change = null, bool hasOther = true)
        {
            JsonObject manifest = new ManifestBuilder()
                .Bdev("Faulty", "faulty", new() { ["fault"] = fault }).File("Other", Disk.Create(scenario.FilePath("other.img"), 8))
                .Blk("vhost.faulty", scenario.FilePath("faulty.sock"), "Faulty").Blk("vhost.other", scenario.FilePath("other.sock"), "Other").Build();
            change?.Invoke(manifest);
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, manifest, Plugins);
            Guest? other = hasOther ? new Guest(new GuestKind("the other guest", false, VirtqueueFormat.Split, 8, 1), scenario.FilePath("other.sock"), 2048) : null;
            return new Neighbours(scenario, manifest, vhostd, other);
        }

        public async Task CheckOtherAsync()
        {
            long completed = _other!.Completed;
            await Deadline.UntilAsync("the other guest goes on", TimeSpan.FromSeconds(90), () => _life.IsFaulted || _other.Completed > completed + 300);
            if (_life.IsFaulted)
            {
                await _life;
            }
        }

        public async Task RestartAsync()
        {
            Vhostd = await VhostdProcess.StartAsync(_scenario, _manifest, Plugins);
            _other!.Reconnect();
        }

        public async ValueTask DisposeAsync()
        {
            if (_other is not null)
            {
                if (Vhostd.HasExited)
                {
                    _other.Abandon();
                }

                _other.Stop();
                try
                {
                    await _life.WaitAsync(TimeSpan.FromSeconds(120));
                }
                finally
                {
                    _other.Dispose();
                }
            }
        }
    }

    /// <summary>The guest of the faulty bdev.</summary>
    private sealed class BadGuest : IDisposable
    {
        private readonly GuestMemory _memory = new(0, 2 << 20);
        private readonly FrontEndDevice _device;
        private readonly VirtioBlkRequests _requests;

        public BadGuest(string socket, TimeSpan? patience = null)
        {
            long limit = Environment.TickCount64 + (long)(patience?.TotalMilliseconds ?? 60_000);
            while (true)
            {
                try
                {
                    _device = FrontEndDevice.Connect(socket, _memory, new FrontEndOptions());
                    break;
                }
                catch (FrontEndException exception) when (exception.IsClosed && Environment.TickCount64 < limit)
                {
                    // The former session is still being ended.
                    Thread.Sleep(50);
                }
            }

            _requests = new VirtioBlkRequests(_device, 2, 4096);
        }

        public byte Read(ulong sector)
        {
            Assert.True(_requests.TryAdd(_device.RequestQueue(0).Ring, 1, VirtioBlkRequests.In, sector, 512));
            Assert.Equal(1, BlockRequests.Complete(_device.RequestQueue(0), 60_000));
            return _requests.Status(1);
        }

        public void Submit(ulong sector)
        {
            Assert.True(_requests.TryAdd(_device.RequestQueue(0).Ring, 0, VirtioBlkRequests.In, sector, 512));
            _device.RequestQueue(0).Publish();
        }

        /// <summary>The status of the submitted request once something is so.</summary>
        public byte StatusAfter(Func<bool> condition)
        {
            long limit = Environment.TickCount64 + 60_000;
            while (!condition())
            {
                Assert.True(Environment.TickCount64 < limit);
                Thread.Sleep(20);
            }

            Assert.False(_device.RequestQueue(0).Ring.HasUsed);
            return _requests.Status(0);
        }

        public void WaitClosed()
        {
            _device.Connection.TimeoutMilliseconds = 120_000;
            _device.Connection.WaitClosed();
        }

        public void Dispose()
        {
            _device.Dispose();
            _memory.Dispose();
        }
    }
}
