using Vhost.Abstractions;
using Vhost.Plugins.Nvme;
using Vhost.Testing.BlockController;
using Vhost.Testing.DeviceModels;
using Vhost.Testing.DeviceModels.Nvme;

namespace Vhost.Nvme.Tests;

/// <summary>Over each namespace and each way to reach the controller.</summary>
public abstract class ConformanceTests : ControllerConformanceTests
{
    protected override string SourceName => "Nvme0";

    protected override string BdevName => "Nvme0n1";

    protected virtual NvmeSettings Settings => new();

    protected override PciModel CreateModel()
    {
        var model = new NvmeModel(Settings);
        model.Add(1, new NvmeModelNamespace(512, 32768));
        model.Add(2, new NvmeModelNamespace(4096, 4096));
        return model;
    }

    protected override (IBdevFactory Factory, object Options) CreateDriver(string socketPath) =>
        (new NvmeBdevFactory(), new NvmeOptions { Address = socketPath, AttachTimeoutSeconds = 5, QueueSize = 48 });
}

public sealed class Namespace512Tests : ConformanceTests
{
    protected override int AllocationTestRequests => 100_000;
}

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
