using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <summary>The published vhostd on a manifest that is put together here.</summary>
internal sealed class VhostdServer : IDisposable
{
    private const string RpcSocket = "rpc.sock";
    private const int LimitMilliseconds = 60_000;

    private readonly string _directory;

    private VhostdServer(string directory, ServerProcess process)
    {
        _directory = directory;
        Process = process;
    }

    /// <summary>The process.</summary>
    public ServerProcess Process { get; }

    /// <summary>Starts it and waits until it serves.</summary>
    /// <param name="program">The program.</param>
    /// <param name="directory">A directory for its manifest and sockets.</param>
    /// <param name="manifest">What to serve.</param>
    /// <param name="launcher">A program that becomes the one that its last arguments name, and its first arguments; null to start the program itself.</param>
    public static VhostdServer Start(string program, string directory, VhostdManifest manifest, IReadOnlyList<string>? launcher = null)
    {
        Directory.CreateDirectory(directory);
        var file = Path.Combine(directory, "vhostd.json");
        File.WriteAllText(file, manifest.Build(directory).ToJsonString());
        IReadOnlyList<string> command = [.. launcher ?? [], program];
        var server = ServerProcess.Start(
            command[0],
            [.. command.Skip(1), "run", file, "--rpc-socket", Path.Combine(directory, RpcSocket)],
            [.. manifest.ControllerNames.Select(name => Path.Combine(directory, name))]);
        return new VhostdServer(directory, server);
    }

    /// <summary>The socket of a controller.</summary>
    /// <param name="controller">Its name.</param>
    public string Socket(string controller) => Path.Combine(_directory, controller);

    /// <summary>Asks it for its status by RPC.</summary>
    /// <exception cref="FrontEndException">It does not answer.</exception>
    public JsonNode GetStatus()
    {
        using var socket = Connect();
        try
        {
            socket.Send("""{"jsonrpc":"2.0","method":"vhostd_get_status","id":1}"""u8);
            var reply = new StringBuilder();
            var buffer = new byte[65536];
            while (true)
            {
                var count = socket.Receive(buffer);
                reply.Append(Encoding.UTF8.GetString(buffer, 0, count));
                if (count == 0 || TryParse(reply.ToString()) is not null)
                {
                    return TryParse(reply.ToString())?["result"] ?? throw new FrontEndException($"vhostd does not tell its status: {reply}");
                }
            }
        }
        catch (SocketException exception)
        {
            throw new FrontEndException($"vhostd does not tell its status: {exception.Message}");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Process.Dispose();

    private Socket Connect()
    {
        // The controllers' sockets may be there before this one listens.
        for (var begin = Stopwatch.GetTimestamp(); ;)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = LimitMilliseconds };
            try
            {
                socket.Connect(new UnixDomainSocketEndPoint(Path.Combine(_directory, RpcSocket)));
                return socket;
            }
            catch (SocketException exception)
            {
                socket.Dispose();
                if (Stopwatch.GetElapsedTime(begin).TotalMilliseconds > LimitMilliseconds)
                {
                    throw new FrontEndException($"vhostd does not tell its status: {exception.Message}");
                }

                Thread.Sleep(5);
            }
        }
    }

    private static JsonNode? TryParse(string text)
    {
        try
        {
            return JsonNode.Parse(text);
        }
        catch (JsonException)
        {
            return null; // not whole yet
        }
    }
}
