namespace Vhost.Bench;

/// <summary>The peer: qemu-storage-daemon with a vhost-user-blk export, on the same CPU as vhostd's reactor.</summary>
internal static class StorageDaemon
{
    /// <summary>Starts it over nothing.</summary>
    /// <param name="program">The program.</param>
    /// <param name="socket">Where to serve.</param>
    /// <param name="sizeMiB">Size of the disk.</param>
    /// <param name="cpu">Its CPU.</param>
    public static ServerProcess StartNull(string program, string socket, int sizeMiB, int cpu) =>
        Start(program, socket, cpu, $"driver=null-co,node-name=disk,size={(long)sizeMiB << 20},read-zeroes=off");

    /// <summary>Starts it over a file, by io_uring.</summary>
    /// <param name="program">The program.</param>
    /// <param name="socket">Where to serve.</param>
    /// <param name="path">The file.</param>
    /// <param name="cpu">Its CPU.</param>
    public static ServerProcess StartFile(string program, string socket, string path, int cpu) =>
        Start(program, socket, cpu, $"driver=file,node-name=disk,filename={path},aio=io_uring,locking=off");

    private static ServerProcess Start(string program, string socket, int cpu, string blockDevice) => ServerProcess.Start(
        "taskset",
        [
            "-c", $"{cpu}", program, "--object", "iothread,id=io", "--blockdev", blockDevice,
            "--export", $"type=vhost-user-blk,id=e,node-name=disk,iothread=io,addr.type=unix,addr.path={socket},writable=on,num-queues=1",
        ],
        socket);
}
