using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.Soak.Tests;

/// <summary>What goes on around the guests: RPC without end, disks that come and go and change their size, peers that connect and say nothing or nonsense. One thread.</summary>
internal sealed class Disturbance(SoakHost host, int seed)
{
    private const int HotPlugTarget = 5;
    private const int RpcTimeoutMilliseconds = 90_000;

    private readonly Random _random = new(seed);
    private int _number;

    /// <summary>RPC calls that were answered.</summary>
    public long RpcCalls { get; private set; }

    /// <summary>Disks that came and went.</summary>
    public long HotPlugs { get; private set; }

    /// <summary>Changes of a disk's size.</summary>
    public long Resizes { get; private set; }

    /// <summary>Strangers that connected.</summary>
    public long Strangers { get; private set; }

    /// <summary>Disturbs until it is told to end; leaves nothing behind.</summary>
    public void Run(CancellationToken ending)
    {
        while (!ending.IsCancellationRequested)
        {
            Once(_random.Next(8));
            ending.WaitHandle.WaitOne(_random.Next(0, 120));
        }
    }

    /// <summary>One of each kind.</summary>
    public void EachOnce()
    {
        for (var kind = 0; kind < 8; kind++)
        {
            Once(kind);
        }
    }

    private void Once(int kind)
    {
        switch (kind)
        {
            case 0:
                HotPlug();
                break;
            case 1:
                Resize();
                break;
            case 2:
                Stranger();
                break;
            case 3:
                RpcStranger();
                break;
            default:
                for (var calls = 0; calls < 20; calls++)
                {
                    Call(Pick("bdev_get_bdevs", "vhost_get_controllers", "bdev_get_iostat", "rpc_get_methods"));
                }

                break;
        }
    }

    private string Pick(params string[] choices) => choices[_random.Next(choices.Length)];

    private void HotPlug()
    {
        var name = $"Passing{_number++}";
        Call("bdev_malloc_create", ("name", name), ("num_blocks", 8192), ("block_size", 512));
        Call("vhost_scsi_controller_add_target", ("ctrlr", SoakHost.ScsiController), ("scsi_target_num", HotPlugTarget), ("bdev_name", name));
        if (_random.Next(2) == 0)
        {
            Thread.Sleep(_random.Next(30));
        }

        Call("vhost_scsi_controller_remove_target", ("ctrlr", SoakHost.ScsiController), ("scsi_target_num", HotPlugTarget));
        Call("bdev_malloc_delete", ("name", name));
        HotPlugs++;
    }

    private void Resize()
    {
        // The guests use the first part only; the rest comes and goes.
        using var file = new FileStream(host.FilePath, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        file.SetLength(SoakHost.FileBytes + ((long)_random.Next(16) << 20));
        Resizes++;
    }

    private void Stranger()
    {
        // It waits until the guest that is there has gone, or goes itself before that.
        try
        {
            using var connection = FrontEndConnection.Connect(host.SocketOf(_random.Next(SoakHost.ControllerCount)));
            var bytes = new byte[_random.Next(0, 64)];
            _random.NextBytes(bytes);
            if (bytes.Length > 0)
            {
                connection.SendRaw(bytes);
            }
        }
        catch (LinuxException)
        {
            // It was turned away at once.
        }

        Strangers++;
    }

    private void RpcStranger()
    {
        using var socket = ConnectRpc();
        socket.Send(Encoding.UTF8.GetBytes(Pick("{", "nonsense", "[[[[[[", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nothing\"}", "{\"jsonrpc\":\"2.0\",\"id\":1,\"meth")));
        Strangers++;
    }

    private Socket ConnectRpc()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = RpcTimeoutMilliseconds, SendTimeout = RpcTimeoutMilliseconds };
        socket.Connect(new UnixDomainSocketEndPoint(host.RpcSocket));
        return socket;
    }

    private void Call(string method, params (string Key, JsonNode Value)[] parameters)
    {
        var request = new JsonObject { ["jsonrpc"] = "2.0", ["id"] = 1, ["method"] = method };
        if (parameters.Length > 0)
        {
            request["params"] = new JsonObject(parameters.Select(parameter => KeyValuePair.Create(parameter.Key, (JsonNode?)parameter.Value)));
        }

        using var socket = ConnectRpc();
        socket.Send(Encoding.UTF8.GetBytes(request.ToJsonString()));
        var reply = new List<byte>();
        var buffer = new byte[65536];
        while (reply.Count == 0 || reply[^1] != (byte)'\n')
        {
            var count = socket.Receive(buffer);
            if (count == 0)
            {
                throw new InvalidOperationException($"the RPC server closed the connection instead of answering {method}");
            }

            reply.AddRange(buffer.AsSpan(0, count));
        }

        var answer = JsonNode.Parse(reply.ToArray())!;
        if (answer["error"] is { } error)
        {
            throw new InvalidOperationException($"{method} failed: {error.ToJsonString()}");
        }

        RpcCalls++;
    }
}
