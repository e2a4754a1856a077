using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Pci;
using Vhost.Plugins.VirtioScsi.Queues;
using Vhost.Plugins.VirtioScsi.Scsi;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VirtioScsi.Controller;

/// <summary>
/// One HBA as a source of bdevs, driven on a thread of its own: attach, scan, serve events, abort, reset, re-attach. The reactors' request
/// queues outlive all of that: while the HBA is away their requests wait, and every wait has an end.
/// </summary>
internal sealed partial class HbaSource : IBdevSource, IRequestQueueOwner
{
    private const int MaxErrorReports = 64;
    private static readonly TimeSpan ReactorTimeout = TimeSpan.FromSeconds(5);
    private readonly VirtioScsiOptions _options;
    private readonly BdevSourceContext _context;
    private readonly IPciDeviceOpener _opener;
    private readonly ILogger _log;
    private readonly EventFd _wake = EventFd.Create();
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentQueue<(LogicalUnit Unit, ulong Tag)> _aborts = new();
    private readonly ConcurrentQueue<int> _rescans = new();
    private readonly TaskCompletionSource _firstAttempt = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly DiskSet _disks;
    private readonly RequestQueue[] _queues;
    private readonly IDisposable?[] _timers;
    private readonly Thread _thread;
    private string? _resetReason;
    private IPciDevice? _device;
    private VirtioPciDevice? _virtio;
    private HbaLife? _life;
    private IDisposable? _memory;
    private IReadOnlyList<int> _vectors = [];
    private EventFd[]? _forwarded;
    private int _errorReports;
    private bool _wasReset;

    public HbaSource(BdevSourceContext context, VirtioScsiOptions options, IPciDeviceOpener opener)
    {
        _context = context;
        _options = options;
        _opener = opener;
        _log = context.Logger;
        _queues = [.. context.Reactors.Select(reactor => new RequestQueue(this, reactor, TimeSpan.FromSeconds(options.TimeoutSeconds)))];
        _timers = new IDisposable?[_queues.Length];
        _disks = new DiskSet(context, _queues, Describe, FindObstacle);
        _thread = new Thread(Run) { Name = $"virtio-scsi {context.Name}", IsBackground = true };
    }

    /// <summary>Starts the thread and waits for the outcome of the first attempt: a device that is merely late does not stop the host.</summary>
    public async ValueTask StartAsync(CancellationToken cancellationToken)
    {
        _thread.Start();
        await _firstAttempt.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void RequestAbort(LogicalUnit unit, ulong tag)
    {
        _aborts.Enqueue((unit, tag));
        EventFd.SignalRaw(_wake.Raw);
    }

    /// <inheritdoc/>
    public void RequestReset(string reason)
    {
        Interlocked.CompareExchange(ref _resetReason, reason, null);
        EventFd.SignalRaw(_wake.Raw);
    }

    /// <inheritdoc/>
    public void StopNow()
    {
        // The queue has memory only while the device is up; it is released after the queue gave it back, on this reactor.
        if (_virtio is not { } virtio)
        {
            return;
        }

        try
        {
            virtio.Reset();
        }
        catch (IOException)
        {
            // The last resort: the function loses the right to do DMA at all. The reset that follows is logged.
            virtio.Device.SetBusMastering(false);
        }
    }

    /// <inheritdoc/>
    public void RequestRescan(int target)
    {
        // One waiting rescan of a target is enough, however many commands ask for it.
        if (!_rescans.Contains(target))
        {
            _rescans.Enqueue(target);
            EventFd.SignalRaw(_wake.Raw);
        }
    }

    /// <inheritdoc/>
    public void ReportError(LogicalUnit unit, in ScsiOutcome outcome, BlockOperation operation, ulong startBlock)
    {
        // A failing disk can fail every request: the log gets the first reports of a life, and the last one says so.
        var count = Interlocked.Increment(ref _errorReports);
        if (count <= MaxErrorReports)
        {
            _log.LogError(
                "{Address}: target {Target}, LUN {Lun}: {Operation} at block {Block} failed: {Outcome}{Last}",
                _options.Address, unit.Target, unit.Lun, operation, startBlock, outcome.Describe(),
                count == MaxErrorReports ? "; further errors are not logged until the next reset" : "");
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        await _stop.CancelAsync().ConfigureAwait(false);
        EventFd.SignalRaw(_wake.Raw);
        if (_thread.IsAlive)
        {
            // The thread bounds each of its steps; if one does not end, the process must not free what the device may still write to.
            await Task.Run(() => _thread.Join(TimeSpan.FromSeconds(10))).ConfigureAwait(false);
        }

        if (!_thread.IsAlive)
        {
            _wake.Dispose();
            _stop.Dispose();
        }
    }

    private void Run()
    {
        try
        {
            while (!_stop.IsCancellationRequested && TryAttach())
            {
                Serve();
                if (!_stop.IsCancellationRequested)
                {
                    Detach(BlockStatus.NoDevice, "the HBA vanished");
                }
            }

            Detach(BlockStatus.NoDevice, "the source is stopped");
        }
        catch (Exception exception)
        {
            _firstAttempt.TrySetException(exception);
            _log.LogCritical(exception, "{Address}: the driver failed; the HBA is given up. Please report this with the log", _options.Address);
            try
            {
                Detach(BlockStatus.IoError, "the driver failed");
            }
            catch (Exception further)
            {
                // An exception must not leave the thread. What the device may still reach stays allocated.
                _log.LogCritical(further, "{Address}: the HBA could not be detached; its memory is kept until the process ends", _options.Address);
            }
        }
    }

    private bool TryAttach()
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        limit.CancelAfter(TimeSpan.FromSeconds(Math.Max(_options.AttachTimeoutSeconds, 1)));
        var pipeline = new ResiliencePipelineBuilder()
            .AddRetry(new RetryStrategyOptions
            {
                ShouldHandle = new PredicateBuilder().Handle<Exception>(exception => exception is not HbaRefusal and (IOException or InvalidOperationException)),
                MaxRetryAttempts = int.MaxValue,
                BackoffType = DelayBackoffType.Exponential,
                Delay = TimeSpan.FromMilliseconds(250),
                MaxDelay = TimeSpan.FromSeconds(5),
                OnRetry = attempt =>
                {
                    _log.LogWarning(
                        "{Error}; attempt {Attempt}, next in {Delay} ms, given up after {Limit} s",
                        attempt.Outcome.Exception?.Message, attempt.AttemptNumber + 1, (int)attempt.RetryDelay.TotalMilliseconds, _options.AttachTimeoutSeconds);
                    _firstAttempt.TrySetResult();
                    return default;
                },
            })
            .Build();
        try
        {
            pipeline.Execute(Attach, limit.Token);
            _firstAttempt.TrySetResult();
            return true;
        }
        catch (OperationCanceledException)
        {
            if (!_stop.IsCancellationRequested)
            {
                _log.LogError(
                    "{Address}: no usable virtio-scsi device within {Limit} s; its bdevs stay absent. Check the device and its driver (vhostd pci list), then restart",
                    _options.Address, _options.AttachTimeoutSeconds);
                KillQueues(BlockStatus.NoDevice);
            }
        }
        catch (HbaRefusal refusal)
        {
            _log.LogError("{Error}", refusal.Message);
            _firstAttempt.TrySetException(refusal);
            KillQueues(BlockStatus.NoDevice);
        }

        return false;
    }

    private void Attach(CancellationToken cancellationToken)
    {
        try
        {
            var device = _device = _opener.Open(_options.Address, _log);
            device.Removed.Register(() => EventFd.SignalRaw(_wake.Raw));
            var virtio = new VirtioPciDevice(device);
            if (virtio.DeviceId != 8)
            {
                throw new HbaRefusal($"{device.Address}: the device is virtio device {virtio.DeviceId}, not a SCSI host (8)");
            }

            // One vector for configuration, control and events, and one for each reactor; with fewer, the first is passed on.
            var wanted = _queues.Length + 1;
            var available = device.InterruptVectorCount;
            _vectors = available == 0 ? [] : device.EnableInterrupts(available >= wanted && !device.IsLevelTriggered ? wanted : 1);
            _memory = device.Dma.Follow(_context.Memory);
            BringUp(virtio, cancellationToken);
        }
        catch
        {
            // Queues may run already, so this is a detachment like any other.
            Detach(BlockStatus.NoDevice, "attaching failed");
            throw;
        }
    }

    // Why there is no point in waiting for a disk's answer any longer. With one interrupt for all, the answer's interrupt comes here, and the
    // reactor that is to take the answer sleeps until it is passed on.
    private string? FindObstacle()
    {
        Wait(TimeSpan.Zero);
        return _stop.IsCancellationRequested ? "the source is stopped"
            : _device is { Removed.IsCancellationRequested: true } ? "the device is gone"
            : Volatile.Read(ref _resetReason);
    }

    private void BringUp(VirtioPciDevice virtio, CancellationToken cancellationToken)
    {
        // What a former life of the device asked for is done by starting a new one.
        Interlocked.Exchange(ref _resetReason, null);
        var start = Stopwatch.GetTimestamp();
        var device = virtio.Device;
        _virtio = virtio;
        // A function that the platform cannot reset may still hold requests of an earlier process.
        virtio.Reset();
        device.SetBusMastering(true);
        var life = _life = new HbaLife(virtio, _queues.Length, _options.QueueSize, _vectors.Count);
        if (_vectors.Count == 1)
        {
            _forwarded ??= [.. _queues.Select(_ => EventFd.Create())];
        }

        for (var i = 0; i < _queues.Length; i++)
        {
            var index = i;
            var wakeDescriptor = _vectors.Count == 0 ? -1 : _vectors.Count == 1 ? _forwarded![i].Raw : _vectors[i + 1];
            OnReactor(i, queue =>
            {
                queue.Registration?.Dispose();
                queue.Registration = queue.Reactor.AddPoller($"{_context.Name} request queue {index}", queue, wakeDescriptor);
                _timers[index] ??= queue.Reactor.AddTimer(TimeSpan.FromMilliseconds(20), static state => ((RequestQueue)state!).CheckDeadlines(), queue);
                var (memory, doorbell) = life.RequestQueues[index];
                queue.Start(memory, doorbell, device.Dma.WithoutCopiedBars, life.Config.MaxSegments, life.TransferBytes);
            });
        }

        _disks.Scan(Enumerable.Range(0, Math.Min(_options.MaxTargets, life.Config.MaxTarget + 1)), life.Config.MaxLun, cancellationToken);
        _errorReports = 0;
        _log.LogInformation(
            "{Address}: virtio-scsi, {Format} rings: {Count} disks, {Queues} request queues, {Interrupts}, {Milliseconds} ms",
            device.Address, life.Format, _disks.Count, _queues.Length,
            _vectors.Count > 1 ? "MSI-X" : _vectors.Count == 1 ? "one interrupt line" : "no interrupts: polled with back-off",
            (int)Stopwatch.GetElapsedTime(start).TotalMilliseconds);
    }

    // What a reactor does not do within the bound cannot be done for it: the driver gives the HBA up rather than touch its state.
    private void OnReactor(int index, Action<RequestQueue> action)
    {
        var queue = _queues[index];
        if (!queue.Reactor.InvokeAsync(() => action(queue)).Wait(ReactorTimeout))
        {
            throw new HbaFailure($"{_options.Address}: reactor {queue.Reactor.Id} did not respond within {ReactorTimeout.TotalSeconds} s");
        }
    }

    private void KillQueues(BlockStatus status)
    {
        for (var i = 0; i < _queues.Length; i++)
        {
            OnReactor(i, queue => queue.Kill(status));
        }
    }

    private Dictionary<string, string> Describe() => new()
    {
        ["pci_address"] = _options.Address,
        ["commands"] = _queues.Sum(queue => queue.CommandCount).ToString(CultureInfo.InvariantCulture),
        ["bounced_commands"] = _queues.Sum(queue => queue.BouncedCommandCount).ToString(CultureInfo.InvariantCulture),
        ["was_reset"] = _wasReset ? "true" : "false",
    };
}
