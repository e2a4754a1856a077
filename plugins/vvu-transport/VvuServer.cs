using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VhostUser;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VvuTransport;

/// <summary>
/// Serves one vvu device while it is there: raises this side's status, feeds messages to a session while the other VM is connected, and begins anew when it has
/// gone. All members but <see cref="Status"/> belong to the transport's thread.
/// </summary>
internal sealed class VvuServer : IDisposable
{
    private const string Listening = "waiting for the other VM";
    private static readonly TimeSpan IdleInterval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan PolledIntervalMax = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan LookInterval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan TakingLimit = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan HandshakeLimit = TimeSpan.FromSeconds(5);
    private readonly TransportContext _context;
    private readonly IVirtioDevice _served;
    private readonly VvuDevice _device;
    private readonly EventFd _wake;
    private readonly Epoll _epoll = Epoll.Create();
    private readonly VvuLink _link;
    private readonly SlowMemoryWatch _slowMemory;
    private readonly CancellationToken _stopping;
    private readonly CancellationToken _cut;
    private readonly byte[] _buffer = new byte[MessageQueue.BufferBytes];
    private VhostUserSession? _session;
    private long _sessionStart;
    private bool _hasHandshake;
    private bool _isWarned;
    private bool _isDropping;
    private int _polledMilliseconds = 1;
    private long _lastLook = long.MinValue;
    private long _takingStart;
    private volatile string _status = Listening;

    /// <summary>Prepares to serve.</summary>
    /// <param name="context">What the host gave the transport.</param>
    /// <param name="served">The device type's device.</param>
    /// <param name="device">The vvu device; the caller's.</param>
    /// <param name="memoryKind">What the Compute VM's memory is to the bdevs' devices.</param>
    /// <param name="wake">Signalled when the server is to look around.</param>
    /// <param name="stopping">Ends the serving.</param>
    /// <param name="cut">Gives up requests that are under way.</param>
    public VvuServer(TransportContext context, IVirtioDevice served, VvuDevice device, MemoryBackingKind memoryKind, EventFd wake, CancellationToken stopping, CancellationToken cut)
    {
        _context = context;
        _served = served;
        _device = device;
        _wake = wake;
        _stopping = stopping;
        _cut = cut;
        _link = new VvuLink(device, memoryKind);
        _slowMemory = new SlowMemoryWatch(device.MeasureMemory, nanoseconds => _context.Logger.LogWarning(
            VvuTransportEvents.MemorySlow, "{Name}: {Address}: a load from the Compute VM's memory takes {Microseconds:0.#} us: this VM's hypervisor maps it no more, as QEMU does at the first interrupt of a vfio-user device's line. Everything works, some hundred times slower. Start vvu-device with --no-interrupt-line, and this VM anew",
            _context.Name, device.Pci.Address, nanoseconds / 1000.0));
        _epoll.Add(wake.Raw, EpollEvents.In, 0);
        for (var vector = 0; vector < Math.Min(device.Vectors.Count, 2); vector++)
        {
            _epoll.Add(device.Vectors[vector], EpollEvents.In, (ulong)vector + 1);
        }
    }

    /// <summary>What is known of the other VM, for people. Any thread.</summary>
    public string Status => _status;

    /// <summary>Serves until the transport is stopped or the device gone.</summary>
    public void Run()
    {
        try
        {
            _device.WriteStatus(VvuDevice.SlaveUp);
            while (!_stopping.IsCancellationRequested && !_device.Pci.Removed.IsCancellationRequested)
            {
                if (IsTurnDue())
                {
                    Turn();
                }

                if (_device.Receive.TryArm())
                {
                    Wait();
                }
            }
        }
        finally
        {
            if (_session is not null && _stopping.IsCancellationRequested)
            {
                _context.Logger.LogWarning(VvuTransportEvents.DisksLost, "{Name}: the other VM loses its disks until vhostd is back; {Remedy}", _context.Name, Remedy);
            }

            EndSession();
            if (!_device.Pci.Removed.IsCancellationRequested)
            {
                // This side is down. A published device keeps the other VM's connection all the same; ours closes it.
                _device.WriteStatus(0);
            }

            _status = "stopped";
        }
    }

    private string Remedy => _device.HasFullForwarding
        ? "then it goes on by itself if its QEMU connects again (reconnect on the chardev; for vhost-user-scsi that takes QEMU 8.2 or newer), else restart that VM"
        : "then that VM must be restarted: this vvu device cannot make it begin a new session";

    /// <inheritdoc/>
    public void Dispose() => _epoll.Dispose();

    // Where nothing interrupts, messages are looked for in memory at each wake-up; the device's registers, each a way out of this VM and back, more rarely.
    private bool IsTurnDue()
    {
        if (_device.Vectors.Count == 0 && !_device.Receive.HasMessage && _lastLook != long.MinValue && Stopwatch.GetElapsedTime(_lastLook) < LookInterval)
        {
            return false;
        }

        _lastLook = Stopwatch.GetTimestamp();
        return true;
    }

    private void Turn()
    {
        var status = _device.ReadStatus();
        if (status == uint.MaxValue)
        {
            throw new VvuFailure($"{_device.Pci.Address}: the device does not answer: its registers read as all ones");
        }

        if ((_device.Virtio.Status & VirtioDeviceStatus.NeedsReset) != 0)
        {
            throw new VvuFailure($"{_device.Pci.Address}: the device gave up and asks for a reset");
        }

        if ((status & VvuDevice.SlaveUp) == 0)
        {
            // The other VM has gone, or the device dropped it: what it said last is void.
            DiscardMessages();
            if (_session is not null)
            {
                _context.Logger.LogInformation(VvuTransportEvents.PeerDisconnected, "{Name}: the other VM disconnected", _context.Name);
                EndSession();
            }

            if (!HasTakenAll())
            {
                // Up, what it still has would go to the next one. Down, the device throws away what it takes.
                return;
            }

            _isDropping = false;
            _device.WriteStatus(VvuDevice.SlaveUp);
            status = _device.ReadStatus();
        }

        if (_isDropping)
        {
            DiscardMessages();
            HasTakenAll();
            return;
        }

        if ((status & VvuDevice.MasterUp) == 0)
        {
            // Nothing is discarded here: no message of a former session comes after this side went up, and one of a new session may have come by now.
            return;
        }

        if (_session is null)
        {
            Begin();
        }

        while (_session is not null && !_stopping.IsCancellationRequested && _device.Receive.TryReceive(_buffer, out var length))
        {
            Handle(_buffer.AsSpan(0, length));
        }

        WarnOfStaleSession();
    }

    private void Begin()
    {
        _session = new VhostUserSession(_served, _link, new VhostUserSessionOptions
        {
            Name = _context.Name, Memory = _context.Memory, Logger = _context.Logger, DrainTimeout = _context.DrainTimeout,
        });
        _sessionStart = Stopwatch.GetTimestamp();
        _hasHandshake = _isWarned = false;
        _status = "connected";
        _context.Logger.LogInformation(VvuTransportEvents.PeerConnected, "{Name}: the other VM is connected", _context.Name);
    }

    private void Handle(Span<byte> bytes)
    {
        try
        {
            if (bytes.Length < MessageHeader.LengthBytes)
            {
                throw new VhostUserException($"a message of {bytes.Length} bytes is shorter than its header");
            }

            var header = MessageHeader.Read(bytes);
            header.CheckFrame();
            var payload = bytes[MessageHeader.LengthBytes..];
            if (payload.Length != header.PayloadBytes)
            {
                throw new VhostUserException($"message {header.Request} has {payload.Length} bytes of payload and announces {header.PayloadBytes}");
            }

            if (!_hasHandshake && !_device.HasFullForwarding && !IsOpening((FrontEndRequest)header.Request))
            {
                // Answered, it would be believed: a ring's base of 0 would make the other VM's driver do old requests again.
                throw new VhostUserException(
                    $"its first message is {(FrontEndRequest)header.Request}: it is in the middle of a session with an earlier vhostd, which this vvu device kept connected. Its connection is closed now: with reconnect=1 on its chardev it begins anew, else restart the Compute VM");
            }

            MemoryTable.Rewrite((FrontEndRequest)header.Request, payload, _device.Layout.MemoryOffsetBytes);
            _hasHandshake |= IsOpening((FrontEndRequest)header.Request);
            var message = new VhostUserMessage(header, payload.ToArray(), []);
            // The session is asynchronous because reactors answer it; this thread has nothing else to do meanwhile.
            _session!.HandleAsync(message, _cut).AsTask().GetAwaiter().GetResult();
        }
        catch (VhostUserException exception)
        {
            _context.Logger.LogError(VvuTransportEvents.VvuSessionEnded, "{Name}: the session with the other VM ends: {Reason}", _context.Name, exception.Message);
            Drop();
        }
        catch (Exception exception) when (exception is not VvuFailure)
        {
            _context.Logger.LogError(VvuTransportEvents.VvuSessionFailed, exception, "{Name}: the session with the other VM ends by a fault of this program or a plugin", _context.Name);
            Drop();
        }
    }

    private static bool IsOpening(FrontEndRequest request) =>
        request is FrontEndRequest.GetFeatures or FrontEndRequest.SetOwner or FrontEndRequest.ResetOwner or FrontEndRequest.GetProtocolFeatures or FrontEndRequest.GetQueueNum;

    // Ends the session and makes the device close the other VM's connection, so that it may begin anew.
    private void Drop()
    {
        EndSession();
        _isDropping = true;
        if (_device.HasFullForwarding)
        {
            _device.WriteStatus(0);
            // No interrupt tells of what this side did.
            _wake.Signal();
            return;
        }

        // A published device keeps the connection when this side goes down, but it closes it for a message that is no reply.
        Span<byte> invalid = stackalloc byte[MessageHeader.LengthBytes];
        new MessageHeader(0, MessageHeader.Version, 0).Write(invalid);
        if (!_device.Send.TrySend(invalid, []))
        {
            throw new VvuFailure($"{_device.Pci.Address}: the device takes no messages, so the other VM cannot be disconnected; resetting the device");
        }
    }

    // Whether the device has taken all that was sent to a session that is over. A device that does not, in a bounded time, is reset: it forgets them.
    private bool HasTakenAll()
    {
        var pending = _link.CountPending();
        if (pending == 0)
        {
            _takingStart = 0;
            return true;
        }

        if (_takingStart == 0)
        {
            _polledMilliseconds = 1;
            _takingStart = Stopwatch.GetTimestamp();
        }
        else if (Stopwatch.GetElapsedTime(_takingStart) > TakingLimit)
        {
            throw new VvuFailure($"{_device.Pci.Address}: the device has not taken {pending} messages for a session that is over, and would give them to the next one");
        }

        return false;
    }

    private void EndSession()
    {
        var session = _session;
        _session = null;
        if (session is not null)
        {
            _status = "disconnecting";
            session.EndAsync(_cut).AsTask().GetAwaiter().GetResult();
        }

        _status = Listening;
    }

    private void DiscardMessages()
    {
        // Bounded by what the queue holds at most twice: a device that writes as fast as this reads is looked at again in the next turn.
        for (var i = 0; i < 256 && _device.Receive.TryReceive(_buffer, out _); i++)
        {
        }
    }

    private void WarnOfStaleSession()
    {
        if (_session is not null && !_hasHandshake && !_isWarned && Stopwatch.GetElapsedTime(_sessionStart) > HandshakeLimit)
        {
            _isWarned = true;
            _context.Logger.LogError(
                VvuTransportEvents.SessionAwaited, "{Name}: the other VM is connected but begins no session: it is in the middle of one with an earlier vhostd, and this vvu device cannot make it begin anew. Restart the Compute VM (or give its chardev reconnect=1 and disconnect it)",
                _context.Name);
            _status = "connected, but the other VM must be restarted";
        }
    }

    private void Wait()
    {
        Span<EpollEvent> events = stackalloc EpollEvent[3];
        var milliseconds = (int)IdleInterval.TotalMilliseconds;
        if (_device.Vectors.Count == 0 || _takingStart != 0)
        {
            // No interrupt at all, as the tx queue never has one: looks more and more rarely while nothing happens.
            milliseconds = _polledMilliseconds;
            _polledMilliseconds = Math.Min(_polledMilliseconds * 2, (int)PolledIntervalMax.TotalMilliseconds);
        }

        var count = _epoll.Wait(events, milliseconds);
        for (var i = 0; i < count; i++)
        {
            if (events[i].Token == 0)
            {
                _wake.Drain();
                continue;
            }

            EventFd.DrainRaw(_device.Vectors[(int)events[i].Token - 1]);
            if (_device.Pci.IsLevelTriggered)
            {
                // Reading the ISR status silences the line; then it may come again. It does not tell which queue was kicked.
                _device.Virtio.ReadIsr();
                _device.ForwardKicks();
                _device.Pci.UnmaskInterrupt();
                _slowMemory.OnInterrupt();
            }
        }

        if (_device.Vectors.Count == 0 && _device.Receive.HasMessage)
        {
            _polledMilliseconds = 1;
        }
    }
}
