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
    private volatile bool _isHeld;
    private long _turnCount;
    private Exception? _failure;

    private BlkServer(TimeSpan? drainTimeout)
    {
        Harness = new TransportHarness(drainTimeout);
        IDeviceTypeFactory factory = new BlkFactory();
        Device = factory.Create(
            new DeviceContext { Name = "vhost.0", Reactors = [_reactor], GetBdev = _ => Port, Logger = Harness.Logger },
            new BlkOptions { Bdev = Port.Name });
        _thread = new Thread(Turn) { Name = "reactor" };
        _thread.Start();
    }

    public TransportHarness Harness { get; }

    public MemoryBdevPort Port { get; } = new(blockCount: 16384);

    public IVirtioDevice Device { get; }

    /// <summary>The reactor turns while this is set, as it is from the beginning.</summary>
    public ManualResetEventSlim Turns { get; } = new(true);

    /// <summary>How often the reactor turned. Any thread.</summary>
    public long TurnCount => Volatile.Read(ref _turnCount);

    public static async Task<BlkServer> StartAsync(TimeSpan? drainTimeout = null)
    {
        var server = new BlkServer(drainTimeout);
        await server.Harness.Transport.StartAsync(server.Device, CancellationToken.None);
        return server;
    }

    /// <summary>Stops the reactor between two turns, until <see cref="Turns"/> is set.</summary>
    public Task HoldAsync()
    {
        Turns.Reset();
        return TransportHarness.WaitForAsync(() => _isHeld, "the reactor is held");
    }

    public async ValueTask DisposeAsync()
    {
        Turns.Set();
        await Harness.DisposeAsync();
        await Device.DisposeAsync();
        _stop = true;
        _thread.Join();
        Port.Dispose();
        Turns.Dispose();
        Assert.Null(_failure);
    }

    private void Turn()
    {
        try
        {
            while (!_stop)
            {
                if (!Turns.IsSet)
                {
                    _isHeld = true;
                    Turns.Wait();
                    _isHeld = false;
                }

                Volatile.Write(ref _turnCount, _turnCount + 1);
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
