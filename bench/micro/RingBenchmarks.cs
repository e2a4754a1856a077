using BenchmarkDotNet.Attributes;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Abstractions;
using Vhost.Testing;
using Vhost.Virtio;

namespace Vhost.Bench.Micro;

/// <summary>
/// Both sides of a ring in one thread: requests of three pieces, as those of a block device, are added in a batch, taken, completed at once, and taken
/// back. Without a device type, a bdev or another CPU.
/// </summary>
public class RingBenchmarks : MicroBenchmark
{
    private const ulong RamBase = 0x10_0000;
    private const int HeaderBytes = 16;
    private const int DataBytes = 4096;
    private const int MaxTurns = 1000;

    private readonly DriverSegment[] _headers = new DriverSegment[OperationCount];
    private readonly DriverSegment[] _answers = new DriverSegment[2 * OperationCount];
    private ManualReactor _reactor = null!;
    private GuestRam _ram = null!;
    private VirtioSession _session = null!;
    private DriverVirtqueue _driver = null!;

    /// <summary>Split or packed.</summary>
    [Params(VirtqueueFormat.Split, VirtqueueFormat.Packed)]
    public VirtqueueFormat Format { get; set; }

    /// <summary>Whether the pieces of a request lie in an indirect table.</summary>
    [Params(false, true)]
    public bool IsIndirect { get; set; }

    /// <inheritdoc/>
    public override long Expected => OperationCount;

    /// <summary>Starts a queue of 256 entries.</summary>
    [GlobalSetup]
    public void SetUp()
    {
        var features = VirtioFeatures.Version1 | VirtioFeatures.EventIndex | (Format == VirtqueueFormat.Packed ? VirtioFeatures.RingPacked : 0)
            | (IsIndirect ? VirtioFeatures.IndirectDescriptors : 0);
        _reactor = new ManualReactor { ArmsIdlePollers = false };
        _ram = new GuestRam((RamBase, 1 << 20));
        var queue = new GuestQueue(_ram, Format, 256, features, IsIndirect ? 4 : 0);
        _driver = queue.Driver;
        for (var i = 0; i < OperationCount; i++)
        {
            _headers[i] = new DriverSegment(_ram.Allocate(HeaderBytes, 64), HeaderBytes);
            _answers[2 * i] = new DriverSegment(_ram.Allocate(DataBytes), DataBytes);
            _answers[(2 * i) + 1] = new DriverSegment(_ram.Allocate(1, 64), 1);
        }

        _session = new VirtioSession(new VirtioSessionOptions
        {
            Name = "micro",
            Reactors = [_reactor],
            FrontEnd = new RecordingFrontEnd(),
            Logger = NullLogger.Instance,
            OfferedFeatures = VirtioFeatures.DeviceRings,
            MaxQueueCount = 1,
            MaxQueueSize = 256,
            CreateHandler = static _ => new CompletingHandler(),
        });
        _session.SetFeatures(features);
        _reactor.Run(SetMemoryAsync());
        _reactor.Run(_session.StartQueueAsync(queue.Setup(), CancellationToken.None));
    }

    /// <summary>Ends the queue.</summary>
    [GlobalCleanup]
    public void CleanUp()
    {
        _reactor.Run(_session.DisposeAsync());
        _ram.Dispose();
    }

    /// <summary>Adds, takes, completes and takes back a batch.</summary>
    /// <returns>How many came back.</returns>
    [Benchmark(OperationsPerInvoke = OperationCount)]
    public long PopAndPush()
    {
        for (var i = 0; i < OperationCount; i++)
        {
            _driver.TryAdd(_headers.AsSpan(i, 1), _answers.AsSpan(2 * i, 2), (ulong)i);
        }

        _driver.Publish();
        var count = 0;
        for (var turn = 0; count < OperationCount && turn < MaxTurns; turn++)
        {
            _reactor.Turn();
            while (_driver.TryGetUsed(out _, out _))
            {
                count++;
            }
        }

        return count;
    }

    private async ValueTask<int> SetMemoryAsync() =>
        await _session.SetMemoryAsync(_ram.Map, new Dictionary<int, VirtqueueAddresses>(), CancellationToken.None).ConfigureAwait(false);

    /// <summary>Completes each request at once.</summary>
    private sealed unsafe class CompletingHandler : IVirtqueueHandler
    {
        public int PrivateBytes => 0;

        public void Attach(Virtqueue queue)
        {
        }

        // SAFETY: the queue's requests are valid until they are completed.
        public void Handle(ReadOnlySpan<VirtioRequestPointer> requests)
        {
            foreach (var request in requests)
            {
                Virtqueue.Of(request.Pointer).Complete(request.Pointer, 1);
            }
        }

        public bool TryFail(VirtioRequest* request, out uint writtenBytes)
        {
            writtenBytes = 0;
            return false;
        }

        public void Detach()
        {
        }
    }
}
