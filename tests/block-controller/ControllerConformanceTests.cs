using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Testing.DeviceModels;
using Vhost.VfioUser;

namespace Vhost.Testing.BlockController;

/// <summary>What every bdev has to hold, over a driver and a model of its controller. The kit's memory is not the device's: it bounces.</summary>
public abstract class ControllerConformanceTests : BdevConformanceTests, IDisposable
{
    private readonly List<IDisposable> _things = [];
    private readonly string _directory = Directory.CreateTempSubdirectory("vhost-").FullName;

    // Each way to reach a controller runs the same code for a request many times over; one class of each driver takes five times as many.
    protected override int AllocationTestRequests => 20_000;

    /// <summary>The bdev that is tested.</summary>
    protected abstract string BdevName { get; }

    /// <summary>The name of the driver's source.</summary>
    protected abstract string SourceName { get; }

    protected override BdevHarness Start()
    {
        var model = CreateModel();
        _things.Add(model);
        var path = Path.Combine(_directory, $"{_things.Count}.sock");
        _things.Add(new VfioUserServer(path, model));
        var (factory, options) = CreateDriver(path);
        var harness = new BdevHarness(factory, options, SourceName) { BdevName = BdevName };
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

    /// <summary>A model with its disks.</summary>
    protected abstract PciModel CreateModel();

    /// <summary>The driver's factory, and its options for a model's socket.</summary>
    protected abstract (IBdevFactory Factory, object Options) CreateDriver(string socketPath);
}
