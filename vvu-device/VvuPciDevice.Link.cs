using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.VvuDevice;

/// <content>The link between the two VMs.</content>
internal sealed partial class VvuPciDevice
{
    private const uint SlaveUp = 1;
    private const uint MasterUp = 2;

    // More come with the next turn, so that neither side keeps the lock.
    private const int MessagesPerTurn = 128;

    // How late a mark in the dirty log may come while nobody waits for a reply.
    private const int LogMilliseconds = 100;

    // Doorbells that a client may ring by eventfd; the others are trapped.
    private const int DoorbellEventFds = 64;
    private readonly EventFd _wake = EventFd.Create();
    private readonly Epoll _epoll = Epoll.Create();
    private EventFd[] _doorbells = [];
    private UnixSocket _listener = null!;
    private string _socketPath = "";
    private Thread? _thread;
    private Master? _master;
    private bool _isReading;
    private bool _isFresh;
    private bool _isStopping;
    private uint _linkStatus;

    /// <summary>What an event is about.</summary>
    public enum TokenKind
    {
        /// <summary>Something changed.</summary>
        Wake,

        /// <summary>The other VM connects.</summary>
        Listener,

        /// <summary>The other VM's connection.</summary>
        Master,

        /// <summary>A queue's kick.</summary>
        Kick,

        /// <summary>A doorbell.</summary>
        Doorbell,
    }

    /// <summary>An event's token.</summary>
    public static ulong Token(TokenKind kind, int index = 0) => ((ulong)kind << 32) | (uint)index;

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            _isStopping = true;
        }

        _wake.Signal();
        _thread?.Join();
        lock (_gate)
        {
            _master?.Dispose();
            _master = null;
            _listener.Dispose();
            _memory.Dispose();
            _tracking?.Dispose();
            DisposeDoorbells();
        }

        _epoll.Dispose();
        _wake.Dispose();
        File.Delete(_socketPath);
    }

    private IEnumerable<int> CreateDoorbells()
    {
        _doorbells = [.. Enumerable.Range(0, DoorbellEventFds).Select(_ => EventFd.Create())];
        for (int i = 0; i < _doorbells.Length; i++)
        {
            _epoll.Add(_doorbells[i].Raw, EpollEvents.In, Token(TokenKind.Doorbell, i));
        }

        return _doorbells.Select(doorbell => doorbell.Raw);
    }

    private void DisposeDoorbells()
    {
        foreach (EventFd doorbell in _doorbells)
        {
            doorbell.Dispose();
        }
    }

    private void StartServing(string path)
    {
        _listener = UnixSocket.Create();
        RemoveStale(path);
        _listener.BindAndListen(path);
        _listener.SetNonBlocking(true);
        _socketPath = path;
        _epoll.Add(_listener.Raw, EpollEvents.In, Token(TokenKind.Listener));
        _epoll.Add(_wake.Raw, EpollEvents.In, Token(TokenKind.Wake));
        _thread = new Thread(Serve) { IsBackground = true, Name = "vhost-user" };
        _thread.Start();
    }

    private static void RemoveStale(string path)
    {
        if (!File.Exists(path) || FileStatus.Of(path).Kind != FileKind.Socket)
        {
            return;
        }

        using UnixSocket probe = UnixSocket.Create();
        try
        {
            probe.Connect(path, 100);
        }
        catch (LinuxException e) when (e.Error == Errno.ECONNREFUSED)
        {
            File.Delete(path);
        }
        catch (LinuxException e) when (e.Error == Errno.EAGAIN)
        {
            // Somebody listens and is busy: binding will say that the address is in use.
        }
    }

    private void Serve()
    {
        Span<EpollEvent> events = stackalloc EpollEvent[32];
        long logDue = 0;
        while (true)
        {
            int count = _epoll.Wait(events, _tracking is { HasLog: true } ? LogMilliseconds : -1);
            lock (_gate)
            {
                if (_isStopping)
                {
                    return;
                }

                if (Environment.TickCount64 >= logDue)
                {
                    _tracking?.FlushLog();
                    logDue = Environment.TickCount64 + LogMilliseconds;
                }

                for (int i = 0; i < count; i++)
                {
                    Handle(events[i]);
                }
            }
        }
    }

    private void Handle(EpollEvent occurred)
    {
        int index = (int)(uint)occurred.Token;
        switch ((TokenKind)(occurred.Token >> 32))
        {
            case TokenKind.Wake:
                _wake.Drain();
                ProcessSent();
                PumpMaster();
                break;
            case TokenKind.Listener:
                Accept();
                break;
            case TokenKind.Master when _isReading:
                PumpMaster();
                break;
            case TokenKind.Master:
                Disconnect("the other VM closed the connection");
                break;
            case TokenKind.Kick when _master is { } master && master.TakeKick(index):
                Raise(_kickVectors[index], IsrConfig);
                break;
            case TokenKind.Doorbell:
                _doorbells[index].Drain();
                _master?.Ring(index);
                break;
        }
    }

    private void Accept()
    {
        UnixSocket? socket;
        try
        {
            socket = _listener.Accept();
        }
        catch (LinuxException exception)
        {
            _report($"the other VM could not be accepted: {exception.Message}");
            return;
        }

        if (socket is null)
        {
            return;
        }

        // One at a time: the next one waits in the backlog.
        _epoll.Remove(_listener.Raw);
        _master = new Master(socket, _epoll);
        _isReading = false;
        _isFresh = true;
        _epoll.Add(socket.Raw, EpollEvents.PeerClosed | EpollEvents.OneShot, Token(TokenKind.Master));
        _report("the other VM has connected");
        Connect();
    }

    // Both are there: tells the driver, and lets messages through.
    private void Connect()
    {
        if (_master is not null && (_linkStatus & SlaveUp) != 0)
        {
            if (_isFresh)
            {
                // Not before the driver is up: until then it may still use the former VM's memory.
                _memory.Clear();
                _tracking?.Clear();
                _isFresh = false;
            }

            _linkStatus = SlaveUp | MasterUp;
            RaiseConfig();
            PumpMaster();
        }
    }

    private void WriteLinkStatus(uint value)
    {
        if ((value & ~(SlaveUp | MasterUp)) != 0)
        {
            Fail($"it wrote the status 0x{value:x}");
            return;
        }

        bool isUp = (value & SlaveUp) != 0;
        if (isUp && (_linkStatus & SlaveUp) == 0)
        {
            _linkStatus = SlaveUp;
            Connect();
        }
        else if (!isUp && (_linkStatus & SlaveUp) != 0)
        {
            GoDown("the appliance's driver went down");
        }
    }

    private void GoDown(string reason)
    {
        _linkStatus = 0;
        if (_registers.HasFullForwarding)
        {
            // A driver that comes back gets a new session.
            CloseMaster(reason);
        }
        else if (_isReading)
        {
            // The published devices keep the connection; nothing is read from it until the driver is up again.
            Arm(isReading: false);
        }
    }

    private void CloseMaster(string reason)
    {
        if (_master is null)
        {
            return;
        }

        _report($"the other VM's connection is closed: {reason}");
        _tracking?.DropLog();
        _epoll.Remove(_master.Messages.Socket.Raw);
        _master.Dispose();
        _master = null;
        _isReading = false;
        Array.Fill(_kickVectors, VirtioRegisters.NoVector);
        _epoll.Add(_listener.Raw, EpollEvents.In, Token(TokenKind.Listener));
    }

    private void Disconnect(string reason)
    {
        if (_master is null)
        {
            return;
        }

        bool wasConnected = (_linkStatus & MasterUp) != 0;
        CloseMaster(reason);
        if (wasConnected)
        {
            _linkStatus = 0;
            RaiseConfig();
        }
    }

    private void Arm(bool isReading)
    {
        if (_master is not null && _isReading != isReading)
        {
            _isReading = isReading;
            // A connection that is not read only tells its end, once.
            _epoll.Modify(_master.Messages.Socket.Raw, isReading ? EpollEvents.In : EpollEvents.PeerClosed | EpollEvents.OneShot, Token(TokenKind.Master));
        }
    }

    // Messages of the other VM, as long as the driver has room for them.
    private void PumpMaster()
    {
        if (_session is null || _master is null || (_linkStatus & MasterUp) == 0 || !_registers.IsDriverOk)
        {
            return;
        }

        DeviceQueue receive = _registers.Queues[ReceiveQueue];
        ushort before = receive.UsedIndex;
        try
        {
            bool mayRead = receive.IsEnabled;
            for (int i = 0; mayRead && i < MessagesPerTurn; i++)
            {
                mayRead = receive.HasChain(_session.Dma);
                if (mayRead && !ReadMessage(receive))
                {
                    break;
                }
            }

            if (_master is not null)
            {
                Arm(mayRead);
            }

            Announce(receive, before);
        }
        catch (DriverFault fault)
        {
            Fail(fault.Message);
        }
    }

    private bool ReadMessage(DeviceQueue receive)
    {
        try
        {
            Master master = _master!;
            switch (master.Messages.TryRead(out VhostUserMessage? message))
            {
                case MessageReadState.Incomplete:
                    return false;
                case MessageReadState.Closed:
                    Disconnect("the other VM closed the connection");
                    return false;
            }

            using (message)
            {
                byte[] payload = _forwarding.FromMaster(message!, master, _registers.HasFullForwarding);
                if (message!.Request == FrontEndRequest.SetLogBase)
                {
                    // The other thread may be asleep without a bound.
                    _wake.Signal();
                }

                Span<byte> header = stackalloc byte[MessageHeader.LengthBytes];
                message.Header.Write(header);
                receive.Write(_session!.Dma, header, payload);
            }

            return true;
        }
        catch (Exception exception) when (exception is MasterFault or VhostUserException or LinuxException)
        {
            Disconnect(exception.Message);
            return false;
        }
    }

    // Messages of the driver.
    private void ProcessSent()
    {
        DeviceQueue send = _registers.Queues[SendQueue];
        if (_session is null || !_registers.IsDriverOk || !send.IsEnabled)
        {
            return;
        }

        ushort before = send.UsedIndex;
        try
        {
            int budget = MessagesPerTurn;
            while (send.HasChain(_session.Dma))
            {
                if (budget-- == 0)
                {
                    _wake.Signal();
                    break;
                }

                int length = send.Read(_session.Dma, _messageBuffer);
                Send(length);
            }

            Announce(send, before);
        }
        catch (DriverFault fault)
        {
            Fail(fault.Message);
        }
    }

    private void Send(int length)
    {
        if (_master is null || (_linkStatus & MasterUp) == 0)
        {
            // The other VM went while the driver wrote.
            return;
        }

        try
        {
            _forwarding.FromDriver(_messageBuffer, length, _master, _registers.HasFullForwarding);
        }
        catch (Exception exception) when (exception is MasterFault or VhostUserException or LinuxException)
        {
            Disconnect(exception.Message);
        }
    }

    private void Announce(DeviceQueue queue, ushort before)
    {
        if (queue.UsedIndex != before && queue.WantsInterrupt(_session!.Dma, before))
        {
            Raise(queue.Vector, IsrQueue);
        }
    }
}
