using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>libblkio as the client: a driver that insists on memory slots and has nothing in common with QEMU's.</summary>
public sealed class LibblkioTests
{
    [Fact]
    public async Task Libblkio_verifies_malloc_and_file_through_one_and_many_queues()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string mallocSocket = scenario.FilePath("malloc.sock");
            string fileSocket = scenario.FilePath("file.sock");
            string file = Disk.Create(scenario.FilePath("disk.img"), 64);
            var manifest = new ManifestBuilder()
                .Malloc("Malloc0", 64).File("File0", file)
                .Blk("vhost.0", mallocSocket, "Malloc0").Blk("vhost.1", fileSocket, "File0")
                .Build();
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, manifest);
            foreach (string socket in (string[])[mallocSocket, fileSocket])
            {
                foreach ((int queues, int depth, int block, bool poll) in ((int, int, int, bool)[])[(1, 1, 4096, false), (2, 64, 4096, false), (4, 32, 65536, true), (1, 128, 512, true)])
                {
                    Assert.EndsWith("OK\n", LibblkioClient.Verify(socket, queues, depth, block, 16 << 20, poll), StringComparison.Ordinal);
                }
            }

            Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(5)));
            Assert.False(File.Exists(mallocSocket));
            Assert.False(File.Exists(fileSocket));
            await VhostdProcess.StartAsync(scenario, manifest);
            Assert.EndsWith("OK\n", LibblkioClient.CheckKept(fileSocket, 2, 16, 512, 16 << 20), StringComparison.Ordinal);
        });
    }
}
