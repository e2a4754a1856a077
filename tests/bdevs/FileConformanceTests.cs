using Vhost.ContractKit;
using Vhost.Plugins.File;

namespace Vhost.Bdevs.Tests;

/// <summary>The conformance suite over each way that the file bdev has to do I/O.</summary>
public abstract class FileConformanceTests : BdevConformanceTests, IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    protected override int AllocationTestRequests => 100_000;

    protected abstract FileBdevOptions Options { get; }

    protected override BdevHarness Start()
    {
        var options = Options;
        options.Path = _directory.File("disk.img");
        options.Create = true;
        options.SizeMiB = 16;
        return BdevHarness.Start(new FileFactory(), options);
    }

    public void Dispose()
    {
        _directory.Dispose();
        GC.SuppressFinalize(this);
    }
}

public sealed class IoUringFileTests : FileConformanceTests
{
    protected override FileBdevOptions Options => new() { IoEngine = "io_uring" };
}

public sealed class ThreadsFileTests : FileConformanceTests
{
    protected override FileBdevOptions Options => new() { IoEngine = "threads" };
}

public sealed class DirectIoUringFileTests : FileConformanceTests
{
    // Through the disk itself: fewer requests, as each takes the disk's time.
    protected override int AllocationTestRequests => 10_000;

    protected override FileBdevOptions Options => new() { IoEngine = "io_uring", Direct = true, BlockSize = 4096 };
}

public sealed class DirectThreadsFileTests : FileConformanceTests
{
    protected override int AllocationTestRequests => 10_000;

    protected override FileBdevOptions Options => new() { IoEngine = "threads", Direct = true, BlockSize = 4096 };
}

/// <summary>On tmpfs, which cannot zero ranges: zeroes are written there.</summary>
public sealed class TmpfsFileTests : BdevConformanceTests, IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateDirectory($"/dev/shm/vhost-{Guid.NewGuid():N}");

    protected override int AllocationTestRequests => 100_000;

    protected override BdevHarness Start() =>
        BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = Path.Combine(_directory.FullName, "disk.img"), Create = true, SizeMiB = 16 });

    public void Dispose() => _directory.Delete(recursive: true);
}

/// <summary>On a block device, with its own way to discard.</summary>
public abstract class LoopDeviceTests : BdevConformanceTests, IDisposable
{
    private readonly Privileged _privileged = new();

    protected override int AllocationTestRequests => 10_000;

    protected abstract FileBdevOptions Options { get; }

    protected override BdevHarness Start()
    {
        var options = Options;
        options.Path = _privileged.CreateLoopDevice();
        return BdevHarness.Start(new FileFactory(), options);
    }

    public void Dispose()
    {
        _privileged.Dispose();
        GC.SuppressFinalize(this);
    }
}

public sealed class BufferedLoopDeviceTests : LoopDeviceTests
{
    protected override FileBdevOptions Options => new();
}

public sealed class DirectLoopDeviceTests : LoopDeviceTests
{
    protected override FileBdevOptions Options => new() { Direct = true };
}
