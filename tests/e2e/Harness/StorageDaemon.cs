namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>QEMU's own vhost-user-blk server: the peer that shows that the harness finds a working server to be working.</summary>
internal sealed class StorageDaemon : IAsyncDisposable, IDiagnosable
{
    private readonly ChildProcess _process;

    private StorageDaemon(ChildProcess process) => _process = process;

    /// <summary>Serves a file on a socket and waits until the socket is there.</summary>
    public static async Task<StorageDaemon> StartAsync(Scenario scenario, string file, string socket, int queues)
    {
        StorageDaemon daemon = scenario.Add(new StorageDaemon(ChildProcess.Start(
            "qemu-storage-daemon",
            TestEnvironment.Tool("qemu-storage-daemon"),
            [
                "--blockdev", $"driver=file,filename={file},node-name=disk,discard=unmap",
                "--export", $"type=vhost-user-blk,id=disk,addr.type=unix,addr.path={socket},node-name=disk,writable=on,num-queues={queues},logical-block-size=512",
            ])));
        await Deadline.UntilAsync(
            "qemu-storage-daemon serves",
            TimeSpan.FromSeconds(120),
            () => daemon._process.HasExited ? throw new EndToEndException("qemu-storage-daemon ended") : File.Exists(socket));
        return daemon;
    }

    /// <summary>Ends the server with SIGKILL.</summary>
    public void Kill() => _process.Kill();

    /// <inheritdoc/>
    public string Diagnose() => _process.Diagnose();

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _process.Dispose();
        return ValueTask.CompletedTask;
    }
}
