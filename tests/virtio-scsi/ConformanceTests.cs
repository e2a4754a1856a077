using Vhost.ContractKit;
using Vhost.Plugins.VirtioScsi;
using Vhost.Testing.DeviceModels.VirtioScsi;
using Vhost.VfioUser;

namespace Vhost.VirtioScsi.Tests;

/// <summary>What every bdev has to hold, over split and packed rings.</summary>
public abstract class ConformanceTests : BdevConformanceTests, IDisposable
{
    private readonly List<IDisposable> _things = [];
    private readonly string _directory = Directory.CreateTempSubdirectory("vhost-").FullName;

    protected override int AllocationTestRequests => 100_000;

    protected virtual string BdevName => "Hba0t0";

    protected virtual VirtioScsiSettings Settings => new();

    protected override BdevHarness Start()
    {
        var model = new VirtioScsiModel(Settings);
        _things.Add(model);
        model.Add(0, 512, 32768);
        model.Add(3, 4096, 4096);
        var path = Path.Combine(_directory, $"{_things.Count}.sock");
        _things.Add(new VfioUserServer(path, model));
        var harness = new BdevHarness(new VirtioScsiBdevFactory(), new VirtioScsiOptions { Address = path, AttachTimeoutSeconds = 5 }, "Hba0") { BdevName = BdevName };
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

public sealed class SplitTests : ConformanceTests;

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
