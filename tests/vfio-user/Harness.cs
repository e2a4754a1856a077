using System.Collections.Concurrent;
using Vhost.Linux;

namespace Vhost.VfioUser.Tests;

internal sealed class Harness : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vhost-").FullName;

    public Harness(int timeoutMilliseconds = 10_000)
    {
        Path = System.IO.Path.Combine(_directory, "device.sock");
        Server = new VfioUserServer(Path, Device, Reports.Enqueue, timeoutMilliseconds);
    }

    public string Path { get; }

    public TestDevice Device { get; } = new();

    public ConcurrentQueue<string> Reports { get; } = new();

    public VfioUserServer Server { get; }

    public VfioUserClient Connect(int timeoutMilliseconds = 10_000)
    {
        VfioUserClient client = VfioUserClient.Connect(Path, timeoutMilliseconds);
        Device.Expect("connected");
        return client;
    }

    /// <summary>A raw connection that has agreed on the version.</summary>
    public RawPeer ConnectRaw(bool negotiate = true)
    {
        var socket = UnixSocket.Create();
        socket.Connect(Path);
        var peer = new RawPeer(socket);
        if (negotiate)
        {
            (VfioUserHeader header, _) = peer.Ask(VfioUserCommand.Version, new VfioUserCapabilities().Encode(1));
            Assert.False(header.IsError);
            Device.Expect("connected");
        }

        return peer;
    }

    /// <summary>Waits for a report: that of a session's end comes after the device was told.</summary>
    public void ExpectReport(string part) => Assert.True(
        SpinWait.SpinUntil(() => Reports.Any(report => report.Contains(part, StringComparison.Ordinal)), TimeSpan.FromSeconds(60)),
        $"no report has '{part}': {string.Join(" | ", Reports)}");

    public void Dispose()
    {
        Server.Dispose();
        Device.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}

/// <summary>Speaks single messages, also wrong ones.</summary>
internal sealed class RawPeer(UnixSocket socket) : IDisposable
{
    private ushort _id;

    public UnixSocket Socket => socket;

    public (VfioUserHeader Header, byte[] Payload) Ask(VfioUserCommand command, byte[] payload, params int[] fds)
    {
        SendRaw(VfioUserHeader.ForCommand(_id++, command, payload.Length), payload, fds);
        return Read() ?? throw new InvalidOperationException("the server closed the connection");
    }

    public void SendRaw(VfioUserHeader header, byte[] payload, params int[] fds)
    {
        byte[] bytes = new byte[VfioUserHeader.Length];
        header.Write(bytes);
        socket.SendAll(bytes, payload, fds);
    }

    /// <summary>The next message; null at the end of the stream.</summary>
    public (VfioUserHeader Header, byte[] Payload)? Read()
    {
        byte[]? header = ReadExactly(VfioUserHeader.Length);
        if (header is null)
        {
            return null;
        }

        VfioUserHeader parsed = VfioUserHeader.Read(header);
        return (parsed, ReadExactly((int)parsed.MessageBytes - VfioUserHeader.Length)!);
    }

    public void Dispose() => socket.Dispose();

    private byte[]? ReadExactly(int count)
    {
        byte[] bytes = new byte[count];
        for (int done = 0; done < count;)
        {
            Assert.Equal(WaitResult.Ready, socket.WaitReadable(60_000));
            int[] fds = new int[8];
            ReceiveResult result;
            try
            {
                result = socket.Receive(bytes.AsSpan(done), fds);
            }
            catch (LinuxException e) when (e.Error == Errno.ECONNRESET)
            {
                return null;
            }

            Array.ForEach(fds[..result.DescriptorCount], FileDescriptor.CloseRaw);
            if (result.Bytes == 0)
            {
                return null;
            }

            done += result.Bytes;
        }

        return bytes;
    }
}
