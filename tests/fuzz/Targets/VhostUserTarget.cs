using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Plugins.VhostBlk;
using Vhost.Plugins.VhostUserTransport;
using Vhost.Testing;
using Vhost.Testing.FrontEnd;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>Messages to a vhost-user server with a blk device behind it.</summary>
internal sealed class VhostUserTarget : IFuzzTarget
{
    private const int GoodEvery = 32;
    private const int WaitMilliseconds = 60_000;

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("fuzz");
    private readonly TurnedReactor _reactor = new();
    private readonly MemoryBdevPort _port = new("Disk0");
    private readonly CollectingLogger _logger = new();
    private readonly MessageSequence _messages = new();
    private readonly IVirtioDevice _device;
    private readonly ITransport _transport;
    private readonly string _socket;
    private int _count;

    public VhostUserTarget()
    {
        _socket = Path.Combine(_directory.FullName, "s");
        IDeviceTypeFactory blk = new BlkFactory();
        _device = blk.Create(
            new DeviceContext { Name = "fuzzed", Reactors = [_reactor.Reactor], GetBdev = _ => _port, Logger = _logger }, new BlkOptions { Bdev = "Disk0" });
        _transport = new VhostUserTransportFactory().Create(
            new TransportContext { Name = "guest", Memory = new MemoryRegistryStandIn(), Logger = _logger, DrainTimeout = TimeSpan.FromSeconds(3) },
            new VhostUserTransportOptions { Socket = _socket });
        _transport.StartAsync(_device, CancellationToken.None).AsTask().GetAwaiter().GetResult();
    }

    /// <inheritdoc/>
    public ulong Run(FuzzInput input)
    {
        _logger.Lines.Clear();
        var descriptors = ProcessDescriptors.Count();
        using (var connection = FrontEndConnection.Connect(_socket))
        {
            if (_messages.Send(input, connection))
            {
                try
                {
                    connection.Socket.Shutdown();
                }
                catch (LinuxException)
                {
                    // It has closed the link already.
                }
            }
        }

        Wait(() => _logger.Lines.Any(IsEnd), "the session ends");
        Wait(() => _transport.Status == "listening", "the transport listens again");
        Wait(() => ProcessDescriptors.Count() == descriptors, "all descriptors are closed");
        _reactor.Check();
        if (++_count % GoodEvery == 0)
        {
            ServeNext();
        }

        var seen = new Seen();
        foreach (var line in _logger.Lines)
        {
            if (line.Contains("fault of this program", StringComparison.Ordinal))
            {
                throw new InvalidOperationException(line);
            }

            seen.Add(line);
        }

        return seen.Value;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _transport.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _device.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _reactor.Dispose();
        _messages.Dispose();
        _port.Dispose();
        _directory.Delete(recursive: true);
    }

    private static bool IsEnd(string line) =>
        line.Contains("front-end disconnected", StringComparison.Ordinal) || line.Contains(": the session with", StringComparison.Ordinal)
            || line.Contains(": the connection to", StringComparison.Ordinal);

    private static void Wait(Func<bool> condition, string what)
    {
        if (!SpinWait.SpinUntil(condition, WaitMilliseconds))
        {
            throw new TimeoutException($"waited in vain until {what}");
        }
    }

    private void ServeNext()
    {
        using var memory = new GuestMemory(0, 1 << 20);
        using (var next = FrontEndDevice.Connect(_socket, memory, new FrontEndOptions { QueueSize = 16 }))
        {
            var requests = new VirtioBlkRequests(next, 1, 4096);
            if (!requests.Execute(next.RequestQueue(0), 0, isWrite: false, 0, 4096))
            {
                throw new InvalidOperationException($"the next front-end is not served: {requests.DescribeResult(0)}");
            }
        }

        Wait(() => _transport.Status == "listening", "the transport listens again");
    }
}
