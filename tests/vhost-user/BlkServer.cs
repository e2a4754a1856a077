using Vhost.Abstractions;
using Vhost.Plugins.VhostBlk;
using Vhost.Testing;

namespace Vhost.VhostUser.Tests;

/// <summary>A real blk device over a bdev in memory, on a reactor that a thread of the test turns, behind a real transport.</summary>
internal sealed class BlkServer : IAsyncDisposable
{
    private readonly ManualReactor _reactor = new();
    private readonly Thread _thread;
    private volatile bool _stop;
    private Exception? _failure;

    private BlkServer()
    {
        IDeviceTypeFactory factory = new BlkFactory();
        Device = factory.Create(
            new DeviceContext { Name = "vhost.0", Reactors = [_reactor], GetBdev = _ => Port, Logger = Harness.Logger },
            new BlkOptions { Bdev = Port.Name });
        _thread = new Thread(Turn) { Name = "reactor" };
        _thread.Start();
    }

    public TransportHarness Harness { get; } = new();

    public MemoryBdevPort Port { get; } = new(blockCount: 16384);

    public IVirtioDevice Device { get; }

    public static async Task<BlkServer> StartAsync()
    {
        var server = new BlkServer();
        await server.Harness.Transport.StartAsync(server.Device, CancellationToken.None);
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        await Harness.DisposeAsync();
        await Device.DisposeAsync();
        _stop = true;
        _thread.Join();
        Port.Dispose();
        Assert.Null(_failure);
    }

    private void Turn()
    {
        try
        {
            while (!_stop)
            {
                if (_reactor.Turn() == 0)
                {
                    Thread.Yield();
                }
            }
        }
        catch (Exception exception)
        {
            _failure = exception;
        }
    }
}
