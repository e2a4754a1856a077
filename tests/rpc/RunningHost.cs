using System.Collections;
using System.Reflection;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Host.Manifest;
using Vhost.Host.Rpc;
using Vhost.Host.Wiring;

namespace Vhost.Rpc.Tests;

/// <summary>A host with the real plugins and an RPC server, in a directory of its own.</summary>
internal sealed class RunningHost : IAsyncDisposable
{
    private readonly RpcServer _server;

    private RunningHost(string directory, VhostHost host, RpcSurface surface, RpcLimits limits)
    {
        Directory = directory;
        Host = host;
        Surface = surface;
        SocketPath = Path.Combine(directory, "rpc.sock");
        _server = new RpcServer(SocketPath, surface, limits, NullLogger.Instance);
        _server.Start();
    }

    public static string RepositoryRoot { get; } = Metadata("RepositoryRoot");

    public static string VhostdDirectory { get; } = Metadata("VhostdDirectory");

    public string Directory { get; }

    public VhostHost Host { get; }

    public RpcSurface Surface { get; }

    public string SocketPath { get; }

    public int ClientCount => _server.ClientCount;

    public List<string> Signals { get; } = [];

    public static string NewDirectory() => System.IO.Directory.CreateTempSubdirectory("vhostd-rpc-").FullName;

    public static async Task<RunningHost> StartAsync(RpcLimits? limits = null, JsonObject? manifest = null, string? pluginDirectory = null)
    {
        var directory = NewDirectory();
        var file = Path.Combine(directory, "vhostd.json");
        manifest ??= new JsonObject { ["rpc"] = new JsonObject { ["defaultTransport"] = new JsonObject { ["type"] = "vhost-user", ["socket"] = $"{directory}/{{controller}}" } } };
        await File.WriteAllTextAsync(file, manifest.ToJsonString());
        var bound = Read(file, pluginDirectory);
        var host = new VhostHost(NullLoggerFactory.Instance);
        await host.StartAsync(bound, TestContext.Current.CancellationToken);
        RunningHost? running = null;
        var surface = new RpcSurface(new RpcContext(host, new LiveGraph(host, bound), signal => running!.Signals.Add(signal)) { Log = new LogLevels() });
        running = new RunningHost(directory, host, surface, limits ?? new RpcLimits());
        return running;
    }

    public static BoundManifest Read(string file, string? pluginDirectory = null)
    {
        var result = ManifestReader.Read(new ManifestRequest(file) { Environment = new Hashtable(), PluginDirectories = [pluginDirectory ?? Path.Combine(VhostdDirectory, "plugins")] });
        Assert.Empty(result.Errors.Select(error => error.ToString()));
        return result.Manifest!;
    }

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync();
        Assert.False(File.Exists(SocketPath));
        await Host.DisposeAsync();
        System.IO.Directory.Delete(Directory, recursive: true);
    }

    private static string Metadata(string key) =>
        typeof(RunningHost).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(attribute => attribute.Key == key).Value!;
}
