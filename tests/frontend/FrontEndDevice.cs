using Vhost.Abstractions;
using Vhost.VhostUser;
using Vhost.Virtio;

namespace Vhost.Testing.FrontEnd;

/// <summary>A front-end that drives a back-end as a VM would: negotiates, shares memory, runs queues. One thread, but each queue may have its own.</summary>
public sealed class FrontEndDevice : IDisposable
{
    private readonly FrontEndOptions _options;
    private readonly List<FrontEndQueue> _queues = [];

    private FrontEndDevice(FrontEndConnection connection, GuestMemory memory, FrontEndOptions options)
    {
        Connection = connection;
        Memory = memory;
        _options = options;
    }

    /// <summary>The connection.</summary>
    public FrontEndConnection Connection { get; }

    /// <summary>The memory that is shared.</summary>
    public GuestMemory Memory { get; }

    /// <summary>The features in use.</summary>
    public ulong Features { get; private set; }

    /// <summary>All queues, those before the request queues too.</summary>
    public IReadOnlyList<FrontEndQueue> Queues => _queues;

    /// <summary>A request queue.</summary>
    /// <param name="number">Counted from 0.</param>
    public FrontEndQueue RequestQueue(int number) => _queues[_options.FirstRequestQueue + number];

    /// <summary>Connects, negotiates, shares the memory and starts the queues.</summary>
    /// <param name="socket">The socket's path.</param>
    /// <param name="memory">The memory, the caller's.</param>
    /// <param name="options">How.</param>
    /// <exception cref="FrontEndException">The back-end cannot do it.</exception>
    public static FrontEndDevice Connect(string socket, GuestMemory memory, FrontEndOptions options)
    {
        var connection = FrontEndConnection.Connect(socket);
        try
        {
            var device = new FrontEndDevice(connection, memory, options);
            device.Start();
            return device;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Reads device configuration space.</summary>
    /// <param name="lengthBytes">How much, from the beginning.</param>
    public byte[] ReadConfig(int lengthBytes)
    {
        var payload = new byte[ConfigRange.WireBytes + lengthBytes];
        new ConfigRange(0, (uint)lengthBytes, 0).Write(payload);
        var reply = Connection.Ask(FrontEndRequest.GetConfig, payload);
        return reply.Length == payload.Length
            ? reply[ConfigRange.WireBytes..].ToArray()
            : throw new FrontEndException($"the back-end answered {payload.Length} bytes of GetConfig by {reply.Length}");
    }

    /// <summary>Stops all queues.</summary>
    public void Stop()
    {
        foreach (var queue in _queues)
        {
            queue.Stop(Connection);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Connection.Dispose();
        _queues.ForEach(queue => queue.Dispose());
    }

    private void Start()
    {
        var offered = Connection.AskNumber(FrontEndRequest.GetFeatures);
        var hasProtocol = (offered & VhostUserFeatures.ProtocolFeatures) != 0;
        if (hasProtocol)
        {
            Connection.NegotiateProtocol(_options.ProtocolFeatures);
        }

        Connection.Tell(FrontEndRequest.SetOwner, []);
        var needed = VirtioFeatures.Version1 | (_options.Format == VirtqueueFormat.Packed ? VirtioFeatures.RingPacked : 0);
        if ((offered & needed) != needed)
        {
            throw new FrontEndException($"the back-end offers 0x{offered:x}, but the features 0x{needed:x} are needed");
        }

        Features = needed | (offered & _options.Features);
        var queueCount = _options.FirstRequestQueue + _options.QueueCount;
        if ((Connection.ProtocolFeatures & ProtocolFeatures.MultiQueue) != 0)
        {
            var greatest = Connection.AskNumber(FrontEndRequest.GetQueueNum);
            if (greatest < (ulong)queueCount)
            {
                throw new FrontEndException($"the back-end has {greatest} queues, but {queueCount} are needed");
            }
        }

        Connection.TellNumber(FrontEndRequest.SetFeatures, Features | (hasProtocol ? VhostUserFeatures.ProtocolFeatures : 0));
        Memory.Announce(Connection);
        for (var i = 0; i < queueCount; i++)
        {
            var queue = new FrontEndQueue(i, _options.Format, _options.QueueSize, Features, _options.IndirectEntries, Memory);
            _queues.Add(queue);
            queue.Start(
                Connection, _options.Format == VirtqueueFormat.Packed ? 0x8000_8000 : 0, _options.HasKicks, _options.HasInterrupts);
        }
    }
}
