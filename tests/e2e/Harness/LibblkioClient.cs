using System.Globalization;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>The client of <c>tests/setup/libblkio-client.c</c>: libblkio's virtio-blk-vhost-user driver with verification.</summary>
internal static class LibblkioClient
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(120);

    /// <summary>Writes, flushes, reads back through another queue and compares; zeroes and discards. Throws when a byte is wrong.</summary>
    public static string Verify(string socket, int queues, int depth, int blockBytes, int totalBytes, bool poll = false) =>
        Run(socket, [.. Numbers(queues, depth, blockBytes, totalBytes), .. poll ? ["poll"] : Array.Empty<string>()]);

    /// <summary>Compares what an earlier <see cref="Verify"/> left. Throws when a byte is wrong.</summary>
    public static string CheckKept(string socket, int queues, int depth, int blockBytes, int totalBytes) =>
        Run(socket, ["check-only", .. Numbers(queues, depth, blockBytes, totalBytes)]);

    private static string Run(string socket, string[] arguments) =>
        TestEnvironment.RunToEnd(TestEnvironment.Tool("libblkio-client"), [socket, .. arguments], Timeout);

    private static IEnumerable<string> Numbers(params int[] numbers) => numbers.Select(n => n.ToString(CultureInfo.InvariantCulture));
}
