using System.Text.Json.Nodes;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <summary>The published vhostd on a manifest that is put together here.</summary>
internal sealed class VhostdServer : IDisposable
{
    private const string RpcSocketName = "rpc.sock";

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
            [.. command.Skip(1), "run", file, "--rpc-socket", Path.Combine(directory, RpcSocketName)],
            [.. manifest.ControllerNames.Select(name => Path.Combine(directory, name))]);
        return new VhostdServer(directory, server);
    }

    /// <summary>The socket of a controller.</summary>
    /// <param name="controller">Its name.</param>
    public string Socket(string controller) => Path.Combine(_directory, controller);

    /// <summary>Asks it for its status by RPC.</summary>
    /// <exception cref="FrontEndException">It does not answer.</exception>
    public JsonNode GetStatus() => RpcSocket.Call(Path.Combine(_directory, RpcSocketName), "vhostd_get_status");

    /// <inheritdoc/>
    public void Dispose() => Process.Dispose();
}
