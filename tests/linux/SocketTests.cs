namespace Vhost.Linux.Tests;

public sealed class SocketTests
{
    [Fact]
    public void Descriptors_cross_a_socket_and_name_the_same_file()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.CreatePair();
        using (a)
        using (b)
        using (EventFd e = EventFd.Create())
        {
            Assert.Equal(5, a.Send("hello"u8, [e.Raw]));
            Span<byte> buffer = stackalloc byte[16];
            Span<int> fds = stackalloc int[4];
            ReceiveResult r = b.Receive(buffer, fds);
            Assert.Equal(new ReceiveResult(5, 1, false, false, false), r);
            using var received = new EventFd(fds[0]);
            received.Signal();
            Assert.Equal(1UL, e.Drain());
            Assert.Equal(new ReceiveResult(0, 0, false, false, true), b.Receive(buffer, fds, blocking: false));
        }
    }

    [Fact]
    public void The_largest_message_carries_253_descriptors()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.CreatePair();
        using (a)
        using (b)
        using (EventFd e = EventFd.Create())
        {
            int[] many = Enumerable.Repeat(e.Raw, UnixSocket.MaxDescriptors).ToArray();
            a.SendAll("x"u8, default, many);
            int[] received = new int[UnixSocket.MaxDescriptors];
            ReceiveResult r = b.Receive(new byte[1], received);
            Assert.Equal(UnixSocket.MaxDescriptors, r.DescriptorCount);
            Assert.False(r.DescriptorsTruncated);
            Assert.Equal(UnixSocket.MaxDescriptors, received.Distinct().Count());
            Array.ForEach(received, FileDescriptor.CloseRaw);
            Assert.Throws<ArgumentException>(() => a.Send("x"u8, new int[254]));
        }
    }

    [Fact]
    public void Descriptors_without_room_are_closed_and_reported()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.CreatePair();
        using (a)
        using (b)
        {
            (UnixSocket probe, UnixSocket passed) = UnixSocket.CreatePair();
            using (probe)
            {
                a.SendAll("x"u8, default, [passed.Raw, passed.Raw]);
                passed.Dispose();
                int[] one = new int[1];
                ReceiveResult r = b.Receive(new byte[1], one);
                Assert.True(r.DescriptorsTruncated);
                Assert.Equal(1, r.DescriptorCount);
                FileDescriptor.CloseRaw(one[0]);

                // With the last descriptor of the other end gone, the probe sees the end of its stream.
                Assert.Equal(WaitResult.Ready, probe.WaitReadable(60_000));
                Assert.Equal(0, probe.Receive(new byte[1], []).Bytes);
            }
        }
    }

    [Fact]
    public void A_packet_longer_than_the_buffer_is_reported()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.CreatePair(UnixSocketType.SequentialPacket);
        using (a)
        using (b)
        {
            a.SendAll("0123456789"u8);
            ReceiveResult r = b.Receive(new byte[4], []);
            Assert.True(r.DataTruncated);
            Assert.Equal(4, r.Bytes);
        }
    }

    [Fact]
    public void A_listener_accepts_and_knows_the_peer()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.File("s.sock");
        using UnixSocket listener = UnixSocket.Create();
        listener.BindAndListen(path);
        using UnixSocket client = UnixSocket.Create();
        client.Connect(path, 1000);
        using UnixSocket? server = listener.Accept();
        Assert.NotNull(server);
        Assert.Equal(Environment.ProcessId, server.GetPeerCredentials().ProcessId);
        server.SendAll("ab"u8, "cd"u8);
        byte[] buffer = new byte[8];
        Assert.Equal(4, client.Receive(buffer, []).Bytes);
        Assert.Equal("abcd"u8, buffer.AsSpan(0, 4));
        listener.SetNonBlocking(true);
        Assert.Null(listener.Accept());
        using UnixSocket second = UnixSocket.Create();
        Assert.Equal(Errno.EADDRINUSE, Assert.Throws<LinuxException>(() => second.BindAndListen(path)).Error);
    }

    [Fact]
    public void Connecting_to_nobody_names_the_path()
    {
        using var directory = new TemporaryDirectory();
        using UnixSocket client = UnixSocket.Create();
        LinuxException e = Assert.Throws<LinuxException>(() => client.Connect(directory.File("none"), 100));
        Assert.Equal(Errno.ENOENT, e.Error);
        Assert.Contains(directory.File("none"), e.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => client.Connect(new string('x', 108), 100));
    }

    [Fact]
    public void Connecting_to_a_full_backlog_ends_in_time()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.File("s.sock");
        using UnixSocket listener = UnixSocket.Create();
        listener.BindAndListen(path, backlog: 0);
        using UnixSocket first = UnixSocket.Create();
        first.Connect(path, 1000);
        using UnixSocket second = UnixSocket.Create();
        Assert.Equal(Errno.EAGAIN, Assert.Throws<LinuxException>(() => second.Connect(path, 50)).Error);
    }

    [Fact]
    public void A_blocked_reader_is_woken_by_eventfd_timeout_and_shutdown()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.CreatePair();
        using (a)
        using (b)
        using (EventFd wake = EventFd.Create())
        {
            Assert.Equal(WaitResult.TimedOut, a.WaitReadable(1, wake.Raw));
            WaitResult? seen = null;
            var reader = new Thread(() => seen = a.WaitReadable(-1, wake.Raw));
            reader.Start();
            wake.Signal();
            Assert.True(reader.Join(60_000));
            Assert.Equal(WaitResult.Woken, seen);
            wake.Drain();
            b.Shutdown();
            Assert.Equal(WaitResult.Ready, a.WaitReadable(-1, wake.Raw));
            Assert.Equal(0, a.Receive(new byte[1], []).Bytes);
            Assert.Equal(Errno.EPIPE, Assert.Throws<LinuxException>(() => a.Send("x"u8)).Error);
        }
    }

    [Fact]
    public void A_send_without_room_does_not_block_when_told_so_and_is_bounded_otherwise()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.CreatePair();
        using (a)
        using (b)
        {
            byte[] block = new byte[4096];
            int sent = 0;
            for (int n; (n = a.Send(block, blocking: false)) > 0;)
            {
                sent += n;
            }

            Assert.InRange(sent, 4096, 64 << 20);
            a.SetSendTimeout(20);
            Assert.Equal(Errno.EAGAIN, Assert.Throws<LinuxException>(() => a.SendAll(block)).Error);
        }
    }
}
