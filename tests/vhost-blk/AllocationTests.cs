using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Testing;
using Vhost.Virtio;

namespace Vhost.VhostBlk.Tests;

public sealed class AllocationTests
{
    private const int QueueDepth = 32;

    [Theory]
    [InlineData(VirtqueueFormat.Split, false, 0)]
    [InlineData(VirtqueueFormat.Split, true, 0)]
    [InlineData(VirtqueueFormat.Split, true, 16)]
    [InlineData(VirtqueueFormat.Packed, true, 0)]
    [InlineData(VirtqueueFormat.Packed, false, 16)]
    public void A_million_requests_allocate_nothing(VirtqueueFormat format, bool hasEventIndex, int tableEntries)
    {
        using var load = new Load(format, hasEventIndex, tableEntries);
        load.Run(200_000);
        Assert.Equal(0, Allocations.LeastOfRounds(() => load.Run(1_000_000)));
        load.Check();
    }

    [Fact]
    public void Cost_of_a_request_is_reported()
    {
        foreach (var (name, format, hasEventIndex, tableEntries) in new[]
                 {
                     ("split", VirtqueueFormat.Split, false, 0),
                     ("split, event index", VirtqueueFormat.Split, true, 0),
                     ("split, indirect", VirtqueueFormat.Split, true, 16),
                     ("packed", VirtqueueFormat.Packed, false, 0),
                     ("packed, indirect", VirtqueueFormat.Packed, true, 16),
                 })
        {
            using var load = new Load(format, hasEventIndex, tableEntries);
            load.Run(300_000);
            var slices = new double[40];
            for (var i = 0; i < slices.Length; i++)
            {
                var start = Stopwatch.GetTimestamp();
                var done = load.Run(20_000);
                slices[i] = Stopwatch.GetElapsedTime(start).TotalNanoseconds / done;
            }

            Array.Sort(slices);
            TestContext.Current.TestOutputHelper?.WriteLine(
                $"{name}: p10 {slices[4]:0.0} ns, median {slices[20]:0.0} ns a request, driver included");
            load.Check();
        }
    }

    /// <summary>4 KiB reads at a fixed queue depth, driver and device on one thread; nothing in it allocates.</summary>
    private sealed class Load : IDisposable
    {
        private readonly BlkBench _bench;
        private readonly DriverSegment[][] _readable = new DriverSegment[QueueDepth][];
        private readonly DriverSegment[][] _writable = new DriverSegment[QueueDepth][];
        private readonly ulong[] _status = new ulong[QueueDepth];
        private long _failedCount;
        private long _doneCount;

        public Load(VirtqueueFormat format, bool hasEventIndex, int tableEntries)
        {
            _bench = new BlkBench(format: format, without: hasEventIndex ? 0 : VirtioFeatures.EventIndex, tableEntries: tableEntries);
            _bench.Port.IsNull = true;
            _bench.Reactor.ArmsIdlePollers = false;
            for (var i = 0; i < QueueDepth; i++)
            {
                var header = _bench.Ram.Allocate(16, 64);
                BlkBench.Header(0, (ulong)i * 8).CopyTo(_bench.Ram.Span(header, 16));
                _status[i] = _bench.Ram.Allocate(1, 64);
                _readable[i] = [new DriverSegment(header, 16)];
                _writable[i] = [new DriverSegment(_bench.Ram.Allocate(4096), 4096), new DriverSegment(_status[i], 1)];
            }
        }

        public long Run(long count)
        {
            var driver = _bench.Driver;
            for (var i = 0; i < QueueDepth; i++)
            {
                Add(driver, (ulong)i);
            }

            driver.Publish();
            var end = _doneCount + count;
            var start = _doneCount;
            while (driver.UnderWayCount != 0)
            {
                _bench.Reactor.Turn();
                while (driver.TryGetUsed(out var token, out var written))
                {
                    _doneCount++;
                    if (written != 4097 || _bench.Ram.Span(_status[token], 1)[0] != 0)
                    {
                        _failedCount++;
                    }

                    if (_doneCount + driver.UnderWayCount < end)
                    {
                        Add(driver, token);
                    }
                }

                driver.Publish();
            }

            return _doneCount - start;
        }

        public void Check()
        {
            Assert.Equal(0, _failedCount);
            Assert.Null(_bench.Driver.BrokenReason);
            Assert.Equal(_doneCount, _bench.Port.Counts[0]);
        }

        public void Dispose() => _bench.Dispose();

        private void Add(DriverVirtqueue driver, ulong slot)
        {
            _bench.Ram.Span(_status[slot], 1)[0] = 0xff;
            driver.TryAdd(_readable[slot], _writable[slot], slot);
        }
    }
}
