using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Plugins.VhostUserTransport;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

public sealed class ServerTests
{
    [Fact]
    public async Task Front_ends_come_and_go_without_leaving_anything()
    {
        await using var harness = await TransportHarness.StartAsync();
        HashSet<string> descriptors = [];
        for (var i = 0; i < 20; i++)
        {
            if (i == 2)
            {
                descriptors = TransportHarness.Descriptors();
            }

            var (connection, memory) = harness.ConnectWithMemory();
            using var queue = new TestQueue(memory, 0);
            queue.SetUp(connection);
            if (i % 2 == 0)
            {
                TestQueue.Stop(connection, 0);
            }

            connection.Dispose();
            memory.Dispose();
            await TransportHarness.WaitForAsync(() => harness.Transport.Status == "listening", "the transport listens again");
        }

        Assert.Equal(20, harness.Device.Sessions.Count);
        Assert.All(harness.Device.Sessions, session => Assert.True(session.IsDisposed));
        Assert.Empty(TransportHarness.Descriptors().Except(descriptors));
        Assert.Empty(harness.Logger.Errors);
    }

    [Fact]
    public async Task A_second_front_end_is_turned_away_and_welcome_when_the_first_has_gone()
    {
        await using var harness = await TransportHarness.StartAsync();
        var first = harness.Connect();
        first.AskNumber(FrontEndRequest.GetFeatures);
        using (var second = harness.Connect())
        {
            second.WaitClosed();
        }

        Assert.Contains(harness.Logger.Lines, line => line.Text.Contains("turned away", StringComparison.Ordinal));
        first.AskNumber(FrontEndRequest.GetFeatures);
        first.Dispose();
        using var third = harness.Connect();
        Assert.NotEqual(0u, third.AskNumber(FrontEndRequest.GetFeatures));
    }

    [Fact]
    public async Task The_socket_has_its_mode_from_the_beginning()
    {
        await using var harness = new TransportHarness();
        await using var transport = harness.Create(options => options.Mode = "0620");
        await transport.StartAsync(harness.Device, TestContext.Current.CancellationToken);
        Assert.Equal("620", Convert.ToString((int)File.GetUnixFileMode(harness.Socket), 8));
    }

    [Fact]
    public async Task A_stale_socket_is_replaced_and_a_live_one_is_not()
    {
        await using var harness = new TransportHarness();
        var dead = UnixSocket.Create();
        dead.BindAndListen(harness.Socket);
        dead.Dispose();
        Assert.True(File.Exists(harness.Socket));
        await harness.Transport.StartAsync(harness.Device, TestContext.Current.CancellationToken);

        await using var rival = harness.Create();
        var refusal = await Assert.ThrowsAsync<IOException>(async () => await rival.StartAsync(harness.Device, TestContext.Current.CancellationToken));
        Assert.Contains("served already", refusal.Message, StringComparison.Ordinal);
        await rival.DisposeAsync();
        using var connection = harness.Connect();
        Assert.NotEqual(0u, connection.AskNumber(FrontEndRequest.GetFeatures));
    }

    [Fact]
    public async Task A_live_socket_of_a_server_without_lock_file_is_refused()
    {
        await using var harness = new TransportHarness();
        using var alive = UnixSocket.Create();
        alive.BindAndListen(harness.Socket);
        var refusal = await Assert.ThrowsAsync<IOException>(async () => await harness.Transport.StartAsync(harness.Device, TestContext.Current.CancellationToken));
        Assert.Contains("served by a living process", refusal.Message, StringComparison.Ordinal);
        Assert.True(File.Exists(harness.Socket));
        Assert.False(File.Exists(harness.Socket + ".lock"));
        File.Delete(harness.Socket);
    }

    [Fact]
    public async Task Of_many_servers_that_start_at_once_exactly_one_gets_the_socket()
    {
        await using var harness = new TransportHarness();
        var rivals = Enumerable.Range(0, 8).Select(_ => harness.Create()).ToArray();
        var started = await Task.WhenAll(rivals.Select(rival => Task.Run(async () =>
        {
            try
            {
                await rival.StartAsync(harness.Device, TestContext.Current.CancellationToken);
                return true;
            }
            catch (IOException)
            {
                return false;
            }
        })));
        Assert.Single(started, true);
        foreach (var rival in rivals)
        {
            await rival.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_file_in_the_way_and_a_missing_directory_are_named()
    {
        await using var harness = new TransportHarness();
        await File.WriteAllTextAsync(harness.Socket, "data", TestContext.Current.CancellationToken);
        var refusal = await Assert.ThrowsAsync<IOException>(async () => await harness.Transport.StartAsync(harness.Device, TestContext.Current.CancellationToken));
        Assert.Contains("is no socket", refusal.Message, StringComparison.Ordinal);
        Assert.Equal("data", await File.ReadAllTextAsync(harness.Socket, TestContext.Current.CancellationToken));
        File.Delete(harness.Socket);

        await using var lost = harness.Create(options => options.Socket = Path.Combine(harness.DirectoryPath, "no", "s"));
        refusal = await Assert.ThrowsAsync<IOException>(async () => await lost.StartAsync(harness.Device, TestContext.Current.CancellationToken));
        Assert.Contains("does not exist; create it", refusal.Message, StringComparison.Ordinal);

        await using var foreign = harness.Create(options => options.Owner = "nobody-of-this-name");
        refusal = await Assert.ThrowsAsync<IOException>(async () => await foreign.StartAsync(harness.Device, TestContext.Current.CancellationToken));
        Assert.Contains("has no user 'nobody-of-this-name'", refusal.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(harness.DirectoryPath));
    }

    [Fact]
    public void Options_are_checked_by_value()
    {
        Assert.Equal(["socket"], Faults(new VhostUserTransportOptions()));
        Assert.Equal(["socket"], Faults(new VhostUserTransportOptions { Socket = "/tmp/" + new string('x', 103) }));
        Assert.Empty(Faults(new VhostUserTransportOptions { Socket = "/tmp/" + new string('x', 102) }));
        Assert.Equal(["mode"], Faults(new VhostUserTransportOptions { Socket = "/tmp/x", Mode = "0o600" }));
        Assert.Equal(["mode"], Faults(new VhostUserTransportOptions { Socket = "/tmp/x", Mode = "1777" }));
        Assert.Equal(["mode"], Faults(new VhostUserTransportOptions { Socket = "/tmp/x", Mode = "" }));
        Assert.Empty(Faults(new VhostUserTransportOptions { Socket = "/tmp/x", Mode = "660" }));
    }

    [Fact]
    public async Task A_stop_is_bounded_whatever_the_device_does()
    {
        var harness = await TransportHarness.StartAsync(TimeSpan.FromMilliseconds(300));
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        queue.SetUp(connection);
        var retained = RetainedMemory.Bytes;
        harness.Device.Hangs = true;
        await harness.Transport.StopAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(120), TestContext.Current.CancellationToken);
        Assert.Equal(retained + (2 << 20), RetainedMemory.Bytes);
        Assert.Contains(harness.Logger.Errors, error => error.Contains("was given up with 1 requests", StringComparison.Ordinal));
        await harness.DisposeAsync();
    }

    [Fact]
    public async Task Requests_that_do_not_come_back_end_the_session_at_the_stop_of_their_ring()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        queue.SetUp(connection);
        harness.Device.AbandonedRequests = 3;
        Assert.True(Assert.Throws<FrontEndException>(() => TestQueue.Stop(connection, 0)).IsClosed);
        await TransportHarness.WaitForAsync(() => harness.Transport.Status == "listening", "the transport listens again");
        Assert.Contains(harness.Logger.Errors, error => error.Contains("3 requests that did not complete", StringComparison.Ordinal));
        Assert.Equal(2, harness.Registry.RegisteredCount);
    }

    [Fact]
    public async Task Many_idle_controllers_use_no_processor_time()
    {
        var harnesses = new List<TransportHarness>();
        var connections = new List<FrontEndConnection>();
        try
        {
            for (var i = 0; i < 64; i++)
            {
                harnesses.Add(await TransportHarness.StartAsync());
                connections.Add(harnesses[i].Connect());
                connections[i].AskNumber(FrontEndRequest.GetFeatures);
            }

            // Counted, not timed: there is a second in which no session thread wakes up. The first may still see the threads go to sleep.
            var during = long.MaxValue;
            for (var attempt = 0; attempt < 10 && during != 0; attempt++)
            {
                var switches = ContextSwitches();
                await Task.Delay(1000, TestContext.Current.CancellationToken);
                during = ContextSwitches() - switches;
            }

            Assert.Equal(0, during);
        }
        finally
        {
            connections.ForEach(connection => connection.Dispose());
            foreach (var harness in harnesses)
            {
                await harness.DisposeAsync();
            }
        }
    }

    [Fact]
    public async Task A_transport_that_never_started_stops_and_leaves_nothing()
    {
        await using var harness = new TransportHarness();
        await harness.Transport.StopAsync(TestContext.Current.CancellationToken);
        await harness.Transport.DisposeAsync();
        Assert.Empty(Directory.GetFileSystemEntries(harness.DirectoryPath));
    }

    private static List<string> Faults(VhostUserTransportOptions options)
    {
        var errors = new Collector();
        new VhostUserTransportFactory().Validate(options, errors);
        return errors.Paths;
    }

    private static long ContextSwitches()
    {
        var sum = 0L;
        foreach (var task in Directory.GetDirectories("/proc/self/task"))
        {
            var lines = File.ReadAllLines(Path.Combine(task, "status"));
            if (lines[0].Contains("vhost-user", StringComparison.Ordinal))
            {
                sum += lines.Where(line => line.StartsWith("voluntary_ctxt", StringComparison.Ordinal)).Sum(line => long.Parse(line.Split(':')[1], System.Globalization.CultureInfo.InvariantCulture));
            }
        }

        return sum;
    }

    private sealed class Collector : IOptionsErrors
    {
        public List<string> Paths { get; } = [];

        public void Add(string path, string message) => Paths.Add(path);
    }
}
