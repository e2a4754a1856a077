using Vhost.Abstractions;
using Vhost.Plugins.VirtioScsi;
using Vhost.Testing.BlockController;
using Vhost.Testing.DeviceModels;
using Vhost.Testing.DeviceModels.VirtioScsi;

namespace Vhost.VirtioScsi.Tests;

/// <summary>Over split and packed rings.</summary>
public abstract class ConformanceTests : ControllerConformanceTests
{
    protected override string SourceName => "Hba0";

    protected override string BdevName => "Hba0t0";

    protected virtual VirtioScsiSettings Settings => new();

    protected override PciModel CreateModel()
    {
        var model = new VirtioScsiModel(Settings);
        model.Add(0, 512, 32768);
        model.Add(3, 4096, 4096);
        return model;
    }

    protected override (IBdevFactory Factory, object Options) CreateDriver(string socketPath) =>
        (new VirtioScsiBdevFactory(), new VirtioScsiOptions { Address = socketPath, AttachTimeoutSeconds = 5 });
}

public sealed class SplitTests : ConformanceTests
{
    protected override int AllocationTestRequests => 100_000;
}

public sealed class PackedTests : ConformanceTests
{
    protected override string BdevName => "Hba0t3";

    protected override VirtioScsiSettings Settings => new() { IsPacked = true };
}

/// <summary>A device without indirect descriptors: a command takes as many entries of the ring as it has pieces.</summary>
public sealed class DirectTests : ConformanceTests
{
    protected override VirtioScsiSettings Settings => new() { HasIndirect = false, MaxSegments = 14 };
}

public sealed class PackedDirectTests : ConformanceTests
{
    protected override VirtioScsiSettings Settings => new() { HasIndirect = false, MaxSegments = 14, IsPacked = true };
}

/// <summary>Only an INTx line: shared by all queues, level-triggered, taken down by reading the ISR status.</summary>
public sealed class LineInterruptTests : ConformanceTests
{
    protected override VirtioScsiSettings Settings => new() { Vectors = 0, HasLine = true };
}
