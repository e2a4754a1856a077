using Vhost.ContractKit;
using Vhost.Plugins.Nvme;
using Vhost.Testing.DeviceModels.Nvme;
using Vhost.VfioUser;

namespace Vhost.Nvme.Tests;

/// <summary>What every bdev has to hold, over each namespace and each way to reach the controller. The kit's memory is not the device's: it bounces.</summary>
public abstract class ConformanceTests : BdevConformanceTests, IDisposable
{
    private readonly List<IDisposable> _things = [];
    private readonly string _directory = Directory.CreateTempSubdirectory("vhost-").FullName;

    protected override int AllocationTestRequests => 100_000;

    protected virtual string BdevName => "Nvme0n1";

    protected virtual NvmeSettings Settings => new();

    protected override BdevHarness Start()
    {
        var model = new NvmeModel(Settings);
        _things.Add(model);
        model.Add(1, new NvmeModelNamespace(512, 32768));
        model.Add(2, new NvmeModelNamespace(4096, 4096));
        var path = Path.Combine(_directory, $"{_things.Count}.sock");
        _things.Add(new VfioUserServer(path, model));
        var harness = new BdevHarness(new NvmeBdevFactory(), new NvmeOptions { Address = path, AttachTimeoutSeconds = 5, QueueSize = 48 }, "Nvme0") { BdevName = BdevName };
        harness.Start();
        return harness;
    }

    public void Dispose()
    {
        _things.Reverse();
        _things.ForEach(thing => thing.Dispose());
        Directory.Delete(_directory, recursive: true);
        GC.SuppressFinalize(this);
    }
}

public sealed class Namespace512Tests : ConformanceTests;

public sealed class Namespace4096Tests : ConformanceTests
{
    protected override string BdevName => "Nvme0n2";
}

public sealed class ShadowDoorbellTests : ConformanceTests
{
    protected override NvmeSettings Settings => new() { HasDoorbellBuffers = true };
}

public sealed class NoInterruptTests : ConformanceTests
{
    protected override NvmeSettings Settings => new() { Vectors = 0 };
}

public sealed class OneInterruptTests : ConformanceTests
{
    protected override NvmeSettings Settings => new() { Vectors = 1 };
}
