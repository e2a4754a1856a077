using System.Diagnostics;
using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>Bounds that a channel holds its peer to.</summary>
/// <param name="MaxPayloadBytes">Longest payload to accept.</param>
/// <param name="MaxFds">Most descriptors to accept in a message.</param>
/// <param name="TimeoutMilliseconds">How long a message that has begun, or a reply, may take.</param>
internal readonly record struct VfioUserLimits(int MaxPayloadBytes, int MaxFds, int TimeoutMilliseconds);

/// <summary>
/// Messages over a socket, in both directions: one thread receives (<see cref="Receive"/>), any thread sends and calls.
/// A call made on the receiving thread receives until its reply is there and keeps the commands that arrive meanwhile.
/// </summary>
internal sealed class VfioUserChannel : IDisposable
{
    // A peer that floods commands while it owes a reply is cut off here.
    private const int MaxDeferred = 256;

    private readonly UnixSocket _socket;
    private readonly EventFd _wake;
    private readonly VfioUserLimits _limits;
    private readonly Lock _sendLock = new();
    private readonly Lock _callLock = new();
    private readonly Dictionary<ushort, Call> _calls = [];
    private readonly Queue<VfioUserMessage> _deferred = [];
    private readonly byte[] _header = new byte[VfioUserHeader.Length];
    private readonly byte[] _sendHeader = new byte[VfioUserHeader.Length];
    private readonly int[] _fds;
    private ushort _nextId;
    private int _receivingThread;
    private string? _failure;

    public VfioUserChannel(UnixSocket socket, EventFd wake, VfioUserLimits limits)
    {
        _socket = socket;
        _wake = wake;
        _limits = limits;
        _fds = new int[limits.MaxFds];
        socket.SetSendTimeout(limits.TimeoutMilliseconds);
    }

    /// <summary>Why the channel is unusable; null while it works.</summary>
    public string? Failure => Volatile.Read(ref _failure);

    /// <summary>The next command; null when woken. Replies are handed to their callers on the way.</summary>
    /// <exception cref="VfioUserException">The peer has gone or broke the protocol; the channel has failed.</exception>
    public VfioUserMessage? Receive()
    {
        _receivingThread = Environment.CurrentManagedThreadId;
        if (_deferred.TryDequeue(out VfioUserMessage? earlier))
        {
            return earlier;
        }

        while (true)
        {
            VfioUserMessage? message = ReceiveOne(-1);
            if (message is null || message.Header.IsCommand)
            {
                return message;
            }

            Complete(message);
        }
    }

    /// <summary>Sends a command and waits for its reply, which the caller disposes.</summary>
    /// <exception cref="VfioUserException">The peer answered with an error, has gone, or did not answer in time.</exception>
    public VfioUserMessage Request(
        VfioUserCommand command, ReadOnlySpan<byte> payload, ReadOnlySpan<byte> data = default, ReadOnlySpan<int> fds = default)
    {
        var call = new Call(command);
        ushort id = Register(call);
        try
        {
            Send(VfioUserHeader.ForCommand(id, command, payload.Length + data.Length), payload, data, fds);
            VfioUserMessage reply = Environment.CurrentManagedThreadId == _receivingThread ? Pump(call) : call.Wait(this, _limits.TimeoutMilliseconds);
            if (reply.Header.IsError)
            {
                uint error = reply.Header.Error;
                reply.Dispose();
                throw new VfioUserException(error is > 0 and < 4096 ? (int)error : Errno.EIO, $"the peer refused {command}");
            }

            return reply;
        }
        finally
        {
            lock (_callLock)
            {
                _calls.Remove(id);
            }

            call.Abandon();
        }
    }

    /// <summary>Sends one message.</summary>
    /// <exception cref="VfioUserException">The peer has gone or takes nothing; the channel has failed.</exception>
    public void Send(VfioUserHeader header, ReadOnlySpan<byte> payload = default, ReadOnlySpan<byte> data = default, ReadOnlySpan<int> fds = default)
    {
        // Two spans go out at once; a message of three parts is rare and short enough to be joined.
        if (!payload.IsEmpty && !data.IsEmpty)
        {
            byte[] joined = new byte[payload.Length + data.Length];
            payload.CopyTo(joined);
            data.CopyTo(joined.AsSpan(payload.Length));
            Send(header, joined, default, fds);
            return;
        }

        lock (_sendLock)
        {
            ThrowIfFailed();
            header.Write(_sendHeader);
            try
            {
                _socket.SendAll(_sendHeader, payload.IsEmpty ? data : payload, fds);
            }
            catch (LinuxException e)
            {
                throw Fail(e.Error, e.Error == Errno.EAGAIN ? $"the peer took no message within {_limits.TimeoutMilliseconds} ms" : $"the peer has gone: {e.Message}", e);
            }
        }
    }

    /// <summary>Makes the channel unusable and frees whoever waits. The first reason stays.</summary>
    public VfioUserException Fail(int error, string reason, Exception? inner = null)
    {
        Interlocked.CompareExchange(ref _failure, reason, null);
        _socket.Shutdown();
        Call[] waiting;
        lock (_callLock)
        {
            waiting = [.. _calls.Values];
        }

        foreach (Call call in waiting)
        {
            call.Fail();
        }

        return new VfioUserException(error, Failure!, inner);
    }

    /// <summary>Closes the socket. The receiving thread has stopped.</summary>
    public void Dispose()
    {
        Fail(Errno.ENOTCONN, "the connection is closed");
        while (_deferred.TryDequeue(out VfioUserMessage? message))
        {
            message.Dispose();
        }

        lock (_sendLock)
        {
            _socket.Dispose();
        }
    }

    private ushort Register(Call call)
    {
        lock (_callLock)
        {
            ThrowIfFailed();
            for (int attempts = 0; attempts <= ushort.MaxValue; attempts++)
            {
                ushort id = _nextId++;
                if (_calls.TryAdd(id, call))
                {
                    return id;
                }
            }
        }

        throw new VfioUserException(Errno.EBUSY, "65536 requests wait for replies");
    }

    private void ThrowIfFailed()
    {
        if (Failure is string reason)
        {
            throw new VfioUserException(Errno.ENOTCONN, reason);
        }
    }

    private void Complete(VfioUserMessage reply)
    {
        Call? call;
        lock (_callLock)
        {
            _calls.Remove(reply.Header.Id, out call);
        }

        if (call is null || call.Command != reply.Header.Command)
        {
            reply.Dispose();
            throw Fail(Errno.EPROTO, $"the peer sent a reply with id {reply.Header.Id} to {reply.Header.Command}, which nobody asked");
        }

        call.Complete(reply);
    }

    private VfioUserMessage Pump(Call call)
    {
        long deadline = Environment.TickCount64 + _limits.TimeoutMilliseconds;
        while (!call.IsComplete)
        {
            int left = (int)(deadline - Environment.TickCount64);
            if (left <= 0)
            {
                throw Fail(Errno.ETIMEDOUT, $"the peer did not answer {call.Command} within {_limits.TimeoutMilliseconds} ms");
            }

            VfioUserMessage? message = ReceiveOne(left);
            if (message is null)
            {
                // Woken or out of time: the wake stays signalled for the outer loop.
                if (_wake.IsClosed || Poll.WaitReadable(_wake.Raw, 0))
                {
                    throw Fail(Errno.ECANCELED, "the connection is closed");
                }
            }
            else if (message.Header.IsReply)
            {
                Complete(message);
            }
            else if (_deferred.Count < MaxDeferred)
            {
                _deferred.Enqueue(message);
            }
            else
            {
                message.Dispose();
                throw Fail(Errno.EPROTO, $"the peer sent {MaxDeferred} commands while it owed the reply to {call.Command}");
            }
        }

        return call.Wait(this, 0);
    }

    private VfioUserMessage? ReceiveOne(int timeoutMilliseconds)
    {
        ThrowIfFailed();
        int fdCount = 0;
        try
        {
            WaitResult waited = _socket.WaitReadable(timeoutMilliseconds, _wake.Raw);
            if (waited != WaitResult.Ready)
            {
                return null;
            }

            long deadline = Environment.TickCount64 + _limits.TimeoutMilliseconds;
            if (!ReceiveExactly(_header, ref fdCount, deadline, mayEnd: true))
            {
                throw Fail(Errno.ECONNRESET, "the peer closed the connection");
            }

            VfioUserHeader header = VfioUserHeader.Read(_header);
            if (!header.IsCommand && !header.IsReply)
            {
                throw Fail(Errno.EPROTO, $"the peer sent a message of the unknown type 0x{header.Flags:x}");
            }

            if (header.MessageBytes < VfioUserHeader.Length || header.MessageBytes - VfioUserHeader.Length > (uint)_limits.MaxPayloadBytes)
            {
                throw Fail(Errno.EPROTO, $"the peer sent {header.Command} with {header.MessageBytes} bytes, {VfioUserHeader.Length} to {VfioUserHeader.Length + _limits.MaxPayloadBytes} are possible");
            }

            byte[] payload = header.MessageBytes == VfioUserHeader.Length ? [] : new byte[header.MessageBytes - VfioUserHeader.Length];
            ReceiveExactly(payload, ref fdCount, deadline, mayEnd: false);
            int[] fds = fdCount == 0 ? [] : _fds.AsSpan(0, fdCount).ToArray();
            fdCount = 0;
            return new VfioUserMessage(header, payload, fds);
        }
        catch (LinuxException e)
        {
            throw Fail(e.Error, $"the connection broke: {e.Message}", e);
        }
        finally
        {
            for (int i = 0; i < fdCount; i++)
            {
                FileDescriptor.CloseRaw(_fds[i]);
            }
        }
    }

    private bool ReceiveExactly(Span<byte> buffer, ref int fdCount, long deadline, bool mayEnd)
    {
        int done = 0;
        while (done < buffer.Length)
        {
            ReceiveResult result = _socket.Receive(buffer[done..], _fds.AsSpan(fdCount), blocking: false);
            fdCount += result.DescriptorCount;
            if (result.DescriptorsTruncated)
            {
                throw Fail(Errno.EPROTO, $"the peer sent more than {_limits.MaxFds} descriptors, or this process has too many files open");
            }

            if (result.WouldBlock)
            {
                int left = (int)Math.Max(0, deadline - Environment.TickCount64);
                switch (left == 0 ? WaitResult.TimedOut : _socket.WaitReadable(left, _wake.Raw))
                {
                    case WaitResult.TimedOut:
                        throw Fail(Errno.ETIMEDOUT, $"the peer began a message and did not finish it within {_limits.TimeoutMilliseconds} ms");
                    case WaitResult.Woken:
                        throw Fail(Errno.ECANCELED, "the connection is closed");
                }
            }
            else if (result.Bytes == 0)
            {
                return mayEnd && done == 0 ? false : throw Fail(Errno.ECONNRESET, "the peer closed the connection in the middle of a message");
            }

            done += result.Bytes;
        }

        return true;
    }

    private sealed class Call(VfioUserCommand command)
    {
        private readonly Lock _lock = new();
        private readonly ManualResetEventSlim _done = new(false, spinCount: 20);
        private VfioUserMessage? _reply;
        private bool _abandoned;

        public VfioUserCommand Command => command;

        public bool IsComplete => _done.IsSet;

        public void Complete(VfioUserMessage reply)
        {
            lock (_lock)
            {
                if (_abandoned)
                {
                    reply.Dispose();
                    return;
                }

                _reply = reply;
                _done.Set();
            }
        }

        public void Fail()
        {
            lock (_lock)
            {
                if (!_abandoned)
                {
                    _done.Set();
                }
            }
        }

        public VfioUserMessage Wait(VfioUserChannel channel, int timeoutMilliseconds)
        {
            long started = Stopwatch.GetTimestamp();
            if (!_done.Wait(timeoutMilliseconds))
            {
                throw channel.Fail(Errno.ETIMEDOUT, $"the peer did not answer {command} within {Stopwatch.GetElapsedTime(started).TotalMilliseconds:F0} ms");
            }

            lock (_lock)
            {
                VfioUserMessage? reply = _reply;
                _reply = null;
                return reply ?? throw new VfioUserException(Errno.ENOTCONN, channel.Failure ?? "the connection is closed");
            }
        }

        public void Abandon()
        {
            lock (_lock)
            {
                _abandoned = true;
                _reply?.Dispose();
                _reply = null;
                _done.Dispose();
            }
        }
    }
}
