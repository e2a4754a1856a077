using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;
using Vhost.Plugins.Nvme.Queues;

namespace Vhost.Plugins.Nvme.Controller;

/// <summary>
/// Drives one controller on a thread of its own: attach, serve events, abort, reset, re-attach, shut down. The reactors' queue pairs outlive
/// all of that: while the controller is away their requests wait, and every wait has an end.
/// </summary>
internal sealed partial class NvmeController : IQueuePairOwner, IAsyncDisposable
{
    private const int MaxErrorReports = 64;
    private static readonly TimeSpan AdminTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan HealthInterval = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan ReactorTimeout = TimeSpan.FromSeconds(5);
    private readonly NvmeOptions _options;
    private readonly BdevSourceContext _context;
    private readonly IPciDeviceOpener _opener;
    private readonly ILogger _log;
    private readonly EventFd _wake = EventFd.Create();
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentQueue<(int QueueId, int CommandId)> _aborts = new();
    private readonly TaskCompletionSource _firstAttempt = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly NamespaceSet _namespaces;
    private readonly IoQueuePair[] _pairs;
    private readonly IDisposable?[] _timers;
    private readonly Thread _thread;
    private string? _resetReason;
    private IPciDevice? _device;
    private ControllerLife? _life;
    private IDisposable? _memory;
    private IReadOnlyList<int> _vectors = [];
    private HealthLog? _health;
    private long _nextHealth;
    private int _errorReports;
    private bool _wasReset;

    public NvmeController(BdevSourceContext context, NvmeOptions options, IPciDeviceOpener opener)
    {
        _context = context;
        _options = options;
        _opener = opener;
        _log = context.Logger;
        _pairs = [.. context.Reactors.Select((reactor, index) => new IoQueuePair(this, reactor, index + 1, TimeSpan.FromSeconds(options.TimeoutSeconds)))];
        _timers = new IDisposable?[_pairs.Length];
        _namespaces = new NamespaceSet(context, _pairs, Describe);
        _thread = new Thread(Run) { Name = $"nvme {context.Name}", IsBackground = true };
    }

    /// <summary>Starts the thread and waits for the outcome of the first attempt: a controller that is merely late does not stop the host.</summary>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        _thread.Start();
        return _firstAttempt.Task.WaitAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public void RequestAbort(IoQueuePair pair, int commandId)
    {
        _aborts.Enqueue((pair.QueueId, commandId));
        EventFd.SignalRaw(_wake.Raw);
    }

    /// <inheritdoc/>
    public void RequestReset(string reason)
    {
        Interlocked.CompareExchange(ref _resetReason, reason, null);
        EventFd.SignalRaw(_wake.Raw);
    }

    /// <inheritdoc/>
    public void ReportError(IoQueuePair pair, in NvmeCompletion completion, BlockOperation operation, ulong startBlock)
    {
        // A failing medium can fail every request: the log gets the first reports of a life, and the last one says so.
        var count = Interlocked.Increment(ref _errorReports);
        if (count <= MaxErrorReports)
        {
            _log.LogError(
                "{Address}: {Operation} at block {Block} failed: {Status}{Last}",
                _options.Address, operation, startBlock, completion.Describe(), count == MaxErrorReports ? "; further errors are not logged until the next reset" : "");
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
                    Detach(BlockStatus.NoDevice, "the controller vanished");
                }
            }

            Detach(BlockStatus.NoDevice, "the source is stopped", orderly: true);
        }
        catch (Exception exception)
        {
            _firstAttempt.TrySetException(exception);
            _log.LogCritical(exception, "{Address}: the driver failed; the controller is given up. Please report this with the log", _options.Address);
            try
            {
                Detach(BlockStatus.IoError, "the driver failed");
            }
            catch (Exception further)
            {
                // An exception must not leave the thread. What the device may still reach stays allocated.
                _log.LogCritical(further, "{Address}: the controller could not be detached; its memory is kept until the process ends", _options.Address);
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
                ShouldHandle = new PredicateBuilder().Handle<Exception>(exception => exception is not NvmeRefusal and (IOException or InvalidOperationException)),
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
            pipeline.Execute(_ => Attach(), limit.Token);
            _firstAttempt.TrySetResult();
            return true;
        }
        catch (OperationCanceledException)
        {
            if (!_stop.IsCancellationRequested)
            {
                _log.LogError(
                    "{Address}: no usable NVMe controller within {Limit} s; its bdevs stay absent. Check the device and its driver (vhostd pci list), then restart",
                    _options.Address, _options.AttachTimeoutSeconds);
                KillPairs(BlockStatus.NoDevice);
            }
        }
        catch (NvmeRefusal refusal)
        {
            _log.LogError("{Error}", refusal.Message);
            _firstAttempt.TrySetException(refusal);
            KillPairs(BlockStatus.NoDevice);
        }

        return false;
    }

    private void Attach()
    {
        try
        {
            var device = _device = _opener.Open(_options.Address, _log);
            if (device.Identity.ClassCode != 0x010802)
            {
                throw new NvmeRefusal($"{device.Address}: the class code is 0x{device.Identity.ClassCode:x6}, not that of an NVMe controller (0x010802)");
            }

            device.Removed.Register(() => EventFd.SignalRaw(_wake.Raw));
            // One vector for the admin queue and one for each reactor; with fewer, the first is passed on to the reactors.
            var wanted = _pairs.Length + 1;
            var available = device.InterruptVectorCount;
            _vectors = available == 0 ? [] : device.EnableInterrupts(available >= wanted && !device.IsLevelTriggered ? wanted : 1);
            _memory = device.Dma.Follow(_context.Memory);
            BringUp(device);
        }
        catch
        {
            // Queue pairs may run already, so this is a detachment like any other.
            Detach(BlockStatus.NoDevice, "attaching failed");
            throw;
        }
    }

    private void BringUp(IPciDevice device)
    {
        // What a former life of the controller asked for is done by starting a new one.
        Interlocked.Exchange(ref _resetReason, null);
        var start = Stopwatch.GetTimestamp();
        var life = _life = new ControllerLife(device, Wait);
        life.Enable(AdminTimeout);
        life.CreateQueues(_pairs.Length, _options.QueueSize, CreateInterrupts(device));
        ConfigureEvents(life);
        // What is published is used at once: its requests wait until the queue pairs run, and do not fail any more.
        for (var i = 0; i < _pairs.Length; i++)
        {
            OnReactor(i, static pair => pair.Revive());
        }

        _namespaces.Rescan(life, device.Address);
        for (var i = 0; i < _pairs.Length; i++)
        {
            StartPair(i, life.Queues[i], device, life.Identity);
        }

        _errorReports = 0;
        _log.LogInformation(
            "{Address}: {Model}, serial {Serial}, firmware {Firmware}: {Count} namespaces, {Queues} queue pairs, {Interrupts}, {Milliseconds} ms",
            device.Address, life.Identity.ModelNumber, life.Identity.SerialNumber, life.Identity.FirmwareRevision, _namespaces.Count, _pairs.Length,
            _vectors.Count > 1 ? "MSI-X" : _vectors.Count == 1 ? "one interrupt line" : "no interrupts: polled with back-off",
            (int)Stopwatch.GetElapsedTime(start).TotalMilliseconds);
    }

    private QueueInterrupt[] CreateInterrupts(IPciDevice device)
    {
        if (_vectors.Count == _pairs.Length + 1)
        {
            return [.. _pairs.Select((_, index) => new QueueInterrupt(_vectors[index + 1], index + 1, null))];
        }

        if (_vectors.Count == 0)
        {
            return [.. _pairs.Select(_ => new QueueInterrupt(-1, 0, null))];
        }

        var bar = device.IsLevelTriggered ? device.OpenBar(0) : null;
        _forwarded ??= [.. _pairs.Select(_ => EventFd.Create())];
        return [.. _pairs.Select((_, index) => new QueueInterrupt(_forwarded[index].Raw, 0, bar))];
    }

    private void StartPair(int index, QueueMemory memory, IPciDevice device, ControllerIdentity identity) => OnReactor(index, pair =>
    {
        pair.Registration?.Dispose();
        pair.Registration = pair.Reactor.AddPoller($"{_context.Name} queue pair {pair.QueueId}", pair, memory.Interrupt.FileDescriptor);
        _timers[index] ??= pair.Reactor.AddTimer(
            TimeSpan.FromMilliseconds(Math.Clamp(_options.TimeoutSeconds * 1000 / 8, 50, 1000)), static state => ((IoQueuePair)state!).CheckDeadlines(), pair);
        pair.Start(memory, device, identity);
    });

    // What a reactor does not do within the bound cannot be done for it: the driver gives the controller up rather than touch its state.
    private void OnReactor(int index, Action<IoQueuePair> action)
    {
        var pair = _pairs[index];
        if (!pair.Reactor.InvokeAsync(() => action(pair)).Wait(ReactorTimeout))
        {
            throw new NvmeFailure($"{_options.Address}: reactor {pair.Reactor.Id} did not respond within {ReactorTimeout.TotalSeconds} s");
        }
    }

    private void KillPairs(BlockStatus status)
    {
        for (var i = 0; i < _pairs.Length; i++)
        {
            OnReactor(i, pair => pair.Kill(status));
        }
    }
}
