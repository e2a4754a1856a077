using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.VvuDevice;

/// <summary>The other VM's connection and what came over it: kicks, calls, its channel for requests. The owner's lock guards it.</summary>
internal sealed class Master : IDisposable
{
    private readonly FileDescriptor?[] _kicks = new FileDescriptor?[DeviceLayout.MaxQueues];
    private readonly FileDescriptor?[] _calls = new FileDescriptor?[DeviceLayout.MaxQueues];
    private readonly FileDescriptor?[] _errors = new FileDescriptor?[DeviceLayout.MaxQueues];
    private readonly Epoll _epoll;
    private UnixSocket? _backend;

    public Master(UnixSocket socket, Epoll epoll)
    {
        Messages = new MessageSocket(socket);
        _epoll = epoll;
    }

    /// <summary>The connection.</summary>
    public MessageSocket Messages { get; }

    /// <summary>Sets or clears what a queue is kicked by, and watches it.</summary>
    public void SetKick(int queue, FileDescriptor? descriptor)
    {
        if (_kicks[queue] is { } former)
        {
            // Others may hold duplicates, so that closing alone would leave it registered.
            _epoll.Remove(former.Raw);
            former.Dispose();
        }

        _kicks[queue] = descriptor;
        if (descriptor is not null)
        {
            _epoll.Add(descriptor.Raw, EpollEvents.In, VvuPciDevice.Token(VvuPciDevice.TokenKind.Kick, queue));
        }
    }

    /// <summary>Sets or clears what a doorbell signals.</summary>
    public void SetCall(int queue, FileDescriptor? descriptor) => Replace(_calls, queue, descriptor);

    /// <summary>Sets or clears what an error of a queue signals.</summary>
    public void SetError(int queue, FileDescriptor? descriptor) => Replace(_errors, queue, descriptor);

    /// <summary>Takes a kick.</summary>
    /// <returns>Whether there was one.</returns>
    public bool TakeKick(int queue) => _kicks[queue] is { } kick && EventFd.DrainRaw(kick.Raw) != 0;

    /// <summary>Interrupts the other VM.</summary>
    /// <param name="doorbell">Calls first, then the log's, which does nothing, then errors.</param>
    public void Ring(int doorbell)
    {
        FileDescriptor? target = doorbell < DeviceLayout.MaxQueues ? _calls[doorbell]
            : doorbell > DeviceLayout.MaxQueues && doorbell - DeviceLayout.MaxQueues - 1 < DeviceLayout.MaxQueues ? _errors[doorbell - DeviceLayout.MaxQueues - 1]
            : null;
        if (target is not null)
        {
            EventFd.SignalRaw(target.Raw);
        }
    }

    /// <summary>Sets the channel for requests to the other VM.</summary>
    public void SetBackendChannel(UnixSocket socket)
    {
        _backend?.Dispose();
        _backend = socket;
    }

    /// <summary>Sends a reply; never waits.</summary>
    /// <exception cref="MasterFault">The other VM does not read.</exception>
    public void Reply(ReadOnlySpan<byte> message) => Send(Messages.Socket, message, [], "replies");

    /// <summary>Sends a reply with a descriptor; never waits.</summary>
    /// <exception cref="MasterFault">The other VM does not read.</exception>
    public void Reply(ReadOnlySpan<byte> message, int descriptor) => Send(Messages.Socket, message, [descriptor], "replies");

    /// <summary>Sends a request; never waits.</summary>
    /// <returns>False where there is no channel.</returns>
    /// <exception cref="MasterFault">The other VM does not read.</exception>
    public bool TryRequest(ReadOnlySpan<byte> message)
    {
        if (_backend is null)
        {
            return false;
        }

        Send(_backend, message, [], "requests");
        return true;
    }

    /// <summary>Takes an eventfd out of a message.</summary>
    public static FileDescriptor TakeEventFd(VhostUserMessage message)
    {
        FileDescriptor descriptor = message.TakeDescriptor(0);
        string? target = new FileInfo($"/proc/self/fd/{descriptor.Raw}").LinkTarget;
        if (target != "anon_inode:[eventfd]")
        {
            descriptor.Dispose();
            throw new MasterFault($"{message.Name} carries no eventfd but '{target}'");
        }

        descriptor.SetNonBlocking(true);
        return descriptor;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        for (int i = 0; i < DeviceLayout.MaxQueues; i++)
        {
            SetKick(i, null);
            SetCall(i, null);
            SetError(i, null);
        }

        _backend?.Dispose();
        Messages.Dispose();
    }

    private static void Replace(FileDescriptor?[] list, int queue, FileDescriptor? descriptor)
    {
        list[queue]?.Dispose();
        list[queue] = descriptor;
    }

    private static void Send(UnixSocket socket, ReadOnlySpan<byte> message, ReadOnlySpan<int> descriptors, string kind)
    {
        if (socket.Send(message, descriptors, blocking: false) != message.Length)
        {
            throw new MasterFault($"the other VM does not read its {kind}");
        }
    }
}
