using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;

namespace Vhost.Crash.Tests;

/// <summary>
/// A device whose requests under way are written down in memory of the front-end, and which outlives its server: rings, memory and in-flight area stay, and it connects
/// again with them, as QEMU does.
/// </summary>
internal sealed class TrackedDevice : IDisposable
{
    private const int TimeoutMilliseconds = 90_000;

    private readonly string _socket;
    private readonly FrontEndOptions _options;
    private readonly FileDescriptor _inFlight;
    private readonly byte[] _inFlightDescription;
    private FrontEndConnection _connection;
    private bool _isTold = true;

    public TrackedDevice(string socket, VirtqueueFormat format, bool isScsi, int memoryBytes, int queueSize = 64)
    {
        _socket = socket;
        _options = new FrontEndOptions
        {
            FirstRequestQueue = isScsi ? VirtioScsiRequests.FirstRequestQueue : 0,
            Format = format,
            QueueSize = queueSize,
            ProtocolFeatures = ProtocolFeatures.MultiQueue | ProtocolFeatures.ReplyAck | ProtocolFeatures.Config
                | ProtocolFeatures.ConfigureMemorySlots | ProtocolFeatures.InFlightSharedMemory | ProtocolFeatures.LogSharedMemory,
        };
        Memory = new GuestMemory(0, (ulong)memoryBytes);
        Device = FrontEndDevice.Connect(socket, Memory, _options);
        _connection = Device.Connection;
        var wanted = new byte[24];
        new SharedAreaDescription(0, 0, (ushort)Device.Queues.Count, (ushort)Queue.Ring.Size).WriteInFlight(wanted);
        _inFlightDescription = _connection.Ask(FrontEndRequest.GetInFlightFd, wanted, out _inFlight).ToArray();
        _connection.Tell(FrontEndRequest.SetInFlightFd, _inFlightDescription, _inFlight.Raw);
    }

    public GuestMemory Memory { get; }

    public FrontEndDevice Device { get; }

    /// <summary>The first request queue.</summary>
    public FrontEndQueue Queue => Device.RequestQueue(0);

    /// <summary>The file of the in-flight area.</summary>
    public FileDescriptor InFlight => _inFlight;

    /// <summary>The connection of the present session.</summary>
    public FrontEndConnection Connection => _connection;

    /// <summary>Whether the server ended the session, or was ended: it says nothing by itself, so what can be read is the end.</summary>
    public bool IsLinkLost => !_isTold || Poll.WaitReadable(_connection.Socket.Raw, 0);

    /// <summary>Connects again.</summary>
    /// <exception cref="LinuxException">There is no server.</exception>
    /// <exception cref="FrontEndException">The server ended the session, or was ended.</exception>
    public void ConnectAgain()
    {
        _isTold = false;
        _connection.Dispose();
        _connection = FrontEndConnection.Connect(_socket);
        _connection.TimeoutMilliseconds = TimeoutMilliseconds;
        _ = _connection.AskNumber(FrontEndRequest.GetFeatures);
        _connection.NegotiateProtocol(_options.ProtocolFeatures);
        _connection.Tell(FrontEndRequest.SetOwner, []);
        _connection.TellNumber(FrontEndRequest.SetFeatures, Device.Features | VhostUserFeatures.ProtocolFeatures);
        Memory.Announce(_connection);
        _connection.Tell(FrontEndRequest.SetInFlightFd, _inFlightDescription, _inFlight.Raw);
        foreach (var queue in Device.Queues)
        {
            // QEMU sends the used index; of a packed ring only the in-flight area knows where it stands.
            queue.Start(_connection, _options.Format == VirtqueueFormat.Packed ? 0x8000_8000 : UsedIndex(queue));
            queue.Kick.Signal();
        }

        _isTold = true;
    }

    public void Dispose()
    {
        _connection.Dispose();
        Device.Dispose();
        _inFlight.Dispose();
        Memory.Dispose();
    }

    private unsafe uint UsedIndex(FrontEndQueue queue)
    {
        var region = Memory.Regions[0];
        var used = region.HostAddress + (nint)(queue.Address.Used - region.Description.UserAddress);
        return BinaryPrimitives.ReadUInt16LittleEndian(new ReadOnlySpan<byte>((void*)(used + 2), 2));
    }
}
