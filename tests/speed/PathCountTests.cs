using Vhost.Abstractions;
using Vhost.Bench;
using Vhost.Linux;
using Vhost.Plugins.File;
using Vhost.Plugins.Malloc;
using Vhost.Plugins.Null;

namespace Vhost.Speed.Tests;

/// <summary>
/// The gate that noise cannot trip: what a request costs, counted on its whole way through the product. It fails when a count grows. A limit that can be
/// lowered after a change is to be lowered with it.
/// </summary>
public sealed class PathCountTests
{
    private const int Requests = 64_000;
    private const int Depth = 32;
    private const int Batch = 16; // half of what is under way, so that driver and device work side by side: see docs/performance.md

    public static TheoryData<string, VirtqueueFormat, string, bool> Paths
    {
        get
        {
            var paths = new TheoryData<string, VirtqueueFormat, string, bool>();
            foreach (var device in new[] { "blk", "scsi" })
            {
                foreach (var format in new[] { VirtqueueFormat.Split, VirtqueueFormat.Packed })
                {
                    paths.Add(device, format, "null", false);
                    paths.Add(device, format, "malloc", false);
                }

                paths.Add(device, VirtqueueFormat.Split, "malloc", true);
                paths.Add(device, VirtqueueFormat.Split, "file on tmpfs", false);
                paths.Add(device, VirtqueueFormat.Split, "file on tmpfs", true);
                paths.Add(device, VirtqueueFormat.Split, "file on a disk", false);
                paths.Add(device, VirtqueueFormat.Split, "file on a disk", true);
            }

            return paths;
        }
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public async Task A_request_costs_no_more_than_it_did(string device, VirtqueueFormat format, string bdev, bool isWrite)
    {
        using var directory = new TemporaryDirectory(bdev == "file on tmpfs" ? "/dev/shm" : "/var/tmp");
        await using var path = await ProductPath.StartAsync(Options(device, format, bdev, isWrite, directory));
        var first = await path.RunAsync(Requests / 8);
        var counts = await path.RunAsync(Requests);

        // A read whose page is not to be had at once cuts a batch, on a busy machine and now and then; the runtime allocates for its own sake, once. What requests cost by themselves they cost in every run.
        for (var again = 0; again < 4 && (counts.SystemCalls > SystemCallsOf(bdev, isWrite) * Requests || counts.AllocatedBytes != 0); again++)
        {
            counts = await path.RunAsync(Requests);
        }

        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{device} {format} {bdev} {(isWrite ? "write" : "read")}: {counts}; {1e9 / counts.Rate:0} ns a request, driver included; the first requests allocated {first.AllocatedBytes} bytes");

        Assert.Equal(0, counts.AllocatedBytes);
        Assert.Equal(0, counts.Messages);
        // A stale event index is passed once in 65536 requests.
        AssertAtMost(2.0 / ushort.MaxValue, counts.Kicks, "kicks");
        AssertAtMost(2.0 / ushort.MaxValue, counts.Interrupts, "interrupts");
        AssertAtMost(SystemCallsOf(bdev, isWrite), counts.SystemCalls, "system calls");
        AssertAtMost(CallsOf(bdev, isWrite), counts.BoundaryCalls, "calls across the plugin's boundary");
    }

    private static void AssertAtMost(double perRequest, long count, string what) =>
        Assert.True(count <= perRequest * Requests, $"{count} {what} in {Requests} requests, where {perRequest * Requests:0} are allowed");

    // Reads and writes of a file in memory are one call each; those of a disk go by io_uring, a batch a call. Writes are finished by workers of the kernel,
    // one by one, so that the next batches are as long as the machine has it.
    private static double SystemCallsOf(string bdev, bool isWrite) => bdev switch
    {
        "null" or "malloc" => 0,
        "file on a disk" => isWrite ? 2 : 1.0 / Batch,
        _ => 1,
    };

    // Down and back, once a batch.
    private static double CallsOf(string bdev, bool isWrite) => bdev == "file on a disk" && isWrite ? 2 : 2.0 / Batch;

    private static PathOptions Options(string device, VirtqueueFormat format, string bdev, bool isWrite, TemporaryDirectory directory)
    {
        var (factory, options) = bdev switch
        {
            "null" => ((IBdevFactory)new NullFactory(), (object)new NullOptions { SizeMiB = 64 }),
            "malloc" => (new MallocFactory(), new MallocOptions { SizeMiB = 64 }),
            _ => (new FileFactory(), new FileBdevOptions { Path = WriteFile(directory.File("disk")) }),
        };
        return new PathOptions
        {
            Device = device == "scsi" ? DeviceKind.Scsi : DeviceKind.Blk,
            Factory = factory,
            BdevOptions = options,
            Format = format,
            QueueDepth = Depth,
            IsWrite = isWrite,
            Cpus = [Scheduling.GetAllowedCpus()[0]],
        };
    }

    private static string WriteFile(string path)
    {
        // Written, so that what is read is in the page cache.
        File.WriteAllBytes(path, new byte[8 << 20]);
        return path;
    }
}
