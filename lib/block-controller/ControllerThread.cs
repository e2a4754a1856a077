using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Pci;

namespace Vhost.BlockController;

/// <summary>
/// Drives one controller on a thread of its own: attach, serve, reset, re-attach, shut down. The reactors' queues outlive all of that: while the
/// controller is away their requests wait, and every wait has an end. A driver derives from it what its controller speaks. Its methods run on the
/// thread unless they say otherwise.
/// </summary>
public abstract partial class ControllerThread : IBdevSource, ICommandQueueOwner
{
    private const int MaxErrorReports = 64;
    private static readonly TimeSpan ReactorTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan StopLimit = TimeSpan.FromSeconds(10);
    private readonly ControllerSettings _settings;
    private readonly IPciDeviceOpener _opener;
    private readonly EventFd _wake = EventFd.Create();
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _firstAttempt = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Thread _thread;
    private string? _resetReason;
    private IDisposable? _memory;
    private int _errorReports;
    private bool _wasReset;

    /// <summary>Prepares the thread.</summary>
    /// <param name="context">What the host gave the source.</param>
    /// <param name="settings">The controller.</param>
    /// <param name="opener">Opens devices.</param>
    protected ControllerThread(BdevSourceContext context, ControllerSettings settings, IPciDeviceOpener opener)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(settings);
        Context = context;
        _settings = settings;
        _opener = opener;
        Log = context.Logger;
        _thread = new Thread(Run) { Name = $"{settings.Driver} {context.Name}", IsBackground = true };
    }

    /// <summary>What the host gave the source.</summary>
    protected BdevSourceContext Context { get; }

    /// <summary>Logs under the source's name.</summary>
    protected ILogger Log { get; }

    /// <summary>The controller's address, as the user gave it.</summary>
    protected string Address => _settings.Address;

    /// <summary>The queues, one for each reactor, in their order. Always the same.</summary>
    protected abstract IReadOnlyList<CommandQueue> Queues { get; }

    /// <summary>The device while it is attached.</summary>
    protected IPciDevice? Device { get; private set; }

    /// <summary>Cancelled when the driver is to stop.</summary>
    protected CancellationToken StopToken => _stop.Token;

    /// <summary>Why the controller is to be reset, or null.</summary>
    protected string? ResetReason => Volatile.Read(ref _resetReason);

    /// <summary>Whether there is something to do for which the thread was woken.</summary>
    protected abstract bool HasRequests { get; }

    /// <inheritdoc/>
    /// <remarks>The outcome of the first attempt is waited for, and that is all: a controller that is merely late does not stop the host.</remarks>
    public async ValueTask StartAsync(CancellationToken cancellationToken)
    {
        _thread.Start();
        await _firstAttempt.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void RequestReset(string reason)
    {
        Interlocked.CompareExchange(ref _resetReason, reason, null);
        Wake();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        await _stop.CancelAsync().ConfigureAwait(false);
        Wake();
        if (_thread.IsAlive)
        {
            // The thread bounds each of its steps; if one does not end, the process must not free what the device may still write to.
            await Task.Run(() => _thread.Join(StopLimit)).ConfigureAwait(false);
        }

        if (!_thread.IsAlive)
        {
            _wake.Dispose();
            _stop.Dispose();
        }

        GC.SuppressFinalize(this);
    }

    /// <summary>Looks at a device that was opened, before anything is done with it.</summary>
    /// <param name="device">The device.</param>
    /// <exception cref="ControllerRefusal">It is none of the driver's.</exception>
    protected abstract void Accept(IPciDevice device);

    /// <summary>
    /// Starts the controller: also after a reset, and after an earlier process that may have left requests in it. Ends with each queue started
    /// (<see cref="StartQueue"/>) and the bdevs published.
    /// </summary>
    /// <param name="device">The device; its interrupts are enabled, and guest memory is mapped.</param>
    /// <param name="cancellationToken">Ends it early.</param>
    /// <returns>What was found, for the log.</returns>
    protected abstract string BringUp(IPciDevice device, CancellationToken cancellationToken);

    /// <summary>Serves once: waits (<see cref="WaitForWork"/>), aborts, takes events.</summary>
    /// <exception cref="IOException">The controller has to be reset.</exception>
    protected abstract void ServeOnce();

    /// <summary>Ends all DMA of the controller by its own registers.</summary>
    /// <exception cref="IOException">It did not stop.</exception>
    protected abstract void StopController();

    /// <summary>Drops what was asked for and is settled by a new life of the controller.</summary>
    protected abstract void ForgetRequests();

    /// <summary>The controller has stopped: the memory of its life is freed.</summary>
    protected abstract void EndLife();

    /// <summary>The controller is going or gone: its bdevs are withdrawn.</summary>
    /// <param name="reason">Why, for the log.</param>
    protected abstract void WithdrawAll(string reason);

    /// <summary>Tells the controller that it will be stopped, where it wants to know.</summary>
    protected virtual void ShutDown()
    {
    }

    /// <summary>Wakes the thread. Any thread.</summary>
    protected void Wake() => EventFd.SignalRaw(_wake.Raw);

    /// <summary>
    /// Counts a request that failed. A failing medium can fail every request: the log gets the first reports of a life, and the last one says so. Any thread.
    /// </summary>
    /// <param name="remark">What to append to the report.</param>
    /// <returns>Whether to report it.</returns>
    protected bool MayReportError(out string remark)
    {
        var count = Interlocked.Increment(ref _errorReports);
        remark = count == MaxErrorReports ? "; further errors are not logged until the next reset" : "";
        return count <= MaxErrorReports;
    }

    /// <summary>What every bdev of the controller shows of it. Any thread.</summary>
    protected Dictionary<string, string> DescribeController() => new()
    {
        ["pci_address"] = Address,
        ["commands"] = Queues.Sum(queue => queue.CommandCount).ToString(CultureInfo.InvariantCulture),
        ["bounced_commands"] = Queues.Sum(queue => queue.BouncedCommandCount).ToString(CultureInfo.InvariantCulture),
        ["was_reset"] = _wasReset ? "true" : "false",
    };

    private void Run()
    {
        try
        {
            while (!_stop.IsCancellationRequested && TryAttach())
            {
                Serve();
                if (!_stop.IsCancellationRequested)
                {
                    Detach(BlockStatus.NoDevice, $"the {_settings.Noun} vanished");
                }
            }

            Detach(BlockStatus.NoDevice, "the source is stopped", orderly: true);
        }
        catch (Exception exception)
        {
            _firstAttempt.TrySetException(exception);
            Log.LogCritical(BlockControllerEvents.DriverFailed, exception, "{Address}: the driver failed; the {Noun} is given up. Please report this with the log", Address, _settings.Noun);
            try
            {
                Detach(BlockStatus.IoError, "the driver failed");
            }
            catch (Exception further)
            {
                // An exception must not leave the thread. What the device may still reach stays allocated.
                Log.LogCritical(BlockControllerEvents.ControllerNotDetached, further, "{Address}: the {Noun} could not be detached; its memory is kept until the process ends", Address, _settings.Noun);
            }
        }
    }

    private bool TryAttach()
    {
        var seconds = _settings.AttachTimeout.TotalSeconds;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        limit.CancelAfter(TimeSpan.FromSeconds(Math.Max(seconds, 1)));
        try
        {
            AttachPolicy.Run(
                Attach,
                retry =>
                {
                    Log.LogWarning(
                        BlockControllerEvents.AttachRetried, "{Error}; attempt {Attempt}, next in {Delay} ms, given up after {Limit} s",
                        retry.Failure?.Message, retry.AttemptNumber, (int)retry.Delay.TotalMilliseconds, seconds);
                    _firstAttempt.TrySetResult();
                },
                limit.Token);
            _firstAttempt.TrySetResult();
            return true;
        }
        catch (OperationCanceledException)
        {
            if (!_stop.IsCancellationRequested)
            {
                Log.LogError(
                    BlockControllerEvents.AttachGivenUp, "{Address}: no usable {Kind} within {Limit} s; its bdevs stay absent. Check the device and its driver (vhostd pci list), then restart",
                    Address, _settings.Kind, seconds);
                OnReactors(static queue => queue.Kill(BlockStatus.NoDevice));
            }
        }
        catch (ControllerRefusal refusal)
        {
            Log.LogError(BlockControllerEvents.AttachRefused, "{Error}", refusal.Message);
            _firstAttempt.TrySetException(refusal);
            OnReactors(static queue => queue.Kill(BlockStatus.NoDevice));
        }

        return false;
    }

    private void Attach(CancellationToken cancellationToken)
    {
        try
        {
            var device = Device = _opener.Open(Address, Log);
            device.Removed.Register(Wake);
            Accept(device);
            EnableInterrupts(device);
            _memory = device.Dma.Follow(Context.Memory);
            StartLife(device, cancellationToken);
        }
        catch
        {
            // Queues may run already, so this is a detachment like any other.
            Detach(BlockStatus.NoDevice, "attaching failed");
            throw;
        }
    }

    private void StartLife(IPciDevice device, CancellationToken cancellationToken)
    {
        // What a former life of the controller asked for is done by starting a new one.
        Interlocked.Exchange(ref _resetReason, null);
        var start = Stopwatch.GetTimestamp();
        var found = BringUp(device, cancellationToken);
        Volatile.Write(ref _errorReports, 0);
        Log.LogInformation(
            BlockControllerEvents.ControllerAttached, "{Address}: {Found}, {Queues} queues, {Interrupts}, {Milliseconds} ms",
            device.Address, found, Queues.Count, InterruptsInWords, (int)Stopwatch.GetElapsedTime(start).TotalMilliseconds);
    }
}
