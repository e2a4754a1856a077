using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Pci;

namespace Vhost.Plugins.VvuTransport;

/// <summary>A vvu device that serves one controller to another VM, on a thread of its own. A device that vanishes or fails is looked for again, for a bounded time.</summary>
/// <param name="context">What the host gives the transport.</param>
/// <param name="options">Valid options.</param>
/// <param name="opener">Opens PCI devices.</param>
internal sealed class VvuTransport(TransportContext context, VvuTransportOptions options, IPciDeviceOpener opener) : ITransport
{
    private static readonly TimeSpan StopMargin = TimeSpan.FromSeconds(2);
    private readonly CancellationTokenSource _stopping = new();
    private readonly CancellationTokenSource _cut = new();
    private readonly EventFd _wake = EventFd.Create();
    private readonly TaskCompletionSource _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile VvuServer? _server;
    private Thread? _thread;
    private IVirtioDevice? _served;

    /// <inheritdoc/>
    public string Endpoint => options.Address;

    /// <inheritdoc/>
    public string Status => _server?.Status ?? (_thread is null || _ended.Task.IsCompleted ? "stopped" : "looking for the device");

    /// <inheritdoc/>
    public async ValueTask StartAsync(IVirtioDevice device, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (_thread is not null)
        {
            throw new InvalidOperationException($"the transport '{context.Name}' is started already");
        }

        _served = device;
        _thread = new Thread(Run) { IsBackground = true, Name = $"vvu {context.Name}" };
        _thread.Start();
        await _started.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask StopAsync(CancellationToken cancellationToken)
    {
        if (_stopping.IsCancellationRequested)
        {
            return;
        }

        await _stopping.CancelAsync().ConfigureAwait(false);
        if (_thread is null)
        {
            return;
        }

        _cut.CancelAfter(context.DrainTimeout);
        _wake.Signal();
        await using (cancellationToken.Register(_cut.Cancel).ConfigureAwait(false))
        {
            try
            {
                await _ended.Task.WaitAsync(context.DrainTimeout + StopMargin, CancellationToken.None).ConfigureAwait(false);
                _wake.Dispose();
            }
            catch (TimeoutException)
            {
                context.Logger.LogError(VvuTransportEvents.VvuDeviceLeftBehind, "{Name}: the vvu device was not released in time and is left behind; it does not answer", context.Name);
            }
        }
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => StopAsync(CancellationToken.None);

    private void Run()
    {
        try
        {
            // The first attempt tells the user at once what is wrong; later ones are a device that comes back.
            var device = Open();
            _started.TrySetResult();
            while (true)
            {
                Serve(device);
                if (_stopping.IsCancellationRequested || Reopen() is not { } next)
                {
                    return;
                }

                device = next;
            }
        }
        catch (Exception exception)
        {
            if (!_started.TrySetException(exception))
            {
                context.Logger.LogCritical(VvuTransportEvents.VvuTransportFailed, "{Name}: the transport has failed and serves nobody until it is restarted: {Reason}", context.Name, exception.Message);
            }
        }
        finally
        {
            _ended.SetResult();
        }
    }

    /// <summary>
    /// What the Compute VM's memory is to the bdevs' devices. In a VM on stock QEMU the BAR is no RAM to emulated devices: they work on copies of it. NVMe is right there, because it maps
    /// each buffer once; virtio-scsi maps it twice, and the stale copy is written back over what the disk was read into. A device that only shows the published contract may be such a BAR
    /// too, and nothing tells. Over a vfio-user socket there is no machine between.
    /// </summary>
    internal static MemoryBackingKind MemoryKind(VvuTransportOptions options) => options.DirectDma switch
    {
        true => MemoryBackingKind.DeviceBar,
        false => MemoryBackingKind.Unreachable,
        null => options.Address.Contains('/', StringComparison.Ordinal) ? MemoryBackingKind.DeviceBar : MemoryBackingKind.CopiedBar,
    };

    private VvuDevice Open()
    {
        var pci = opener.Open(options.Address, context.Logger);
        var device = new VvuDevice(pci, _served!.MaxQueueCount);
        if (_served.RequiresConfigAccess && !device.HasFullForwarding)
        {
            device.Dispose();
            throw new VvuRefusal(
                $"{options.Address}: this device type needs the device configuration, which this vvu device does not carry (layout by {device.Layout.Name}, no full forwarding): use a controller of type scsi, or vvu-device");
        }

        pci.Removed.Register(() => EventFd.SignalRaw(_wake.Raw));
        context.Logger.LogInformation(
            VvuTransportEvents.VvuDeviceAttached, "{Name}: {Address}: vvu device, layout by {Layout}, {Queues} queues, {Forwarding}, {Kicks}",
            context.Name, options.Address, device.Layout.Name, device.MaxQueueCount,
            device.HasFullForwarding ? "full forwarding" : "published contract", device.KickKind);
        return device;
    }

    private void Serve(VvuDevice device)
    {
        try
        {
            using (device)
            {
                using var server = new VvuServer(context, _served!, device, MemoryKind(options), _wake, _stopping.Token, _cut.Token);
                _server = server;
                server.Run();
            }
        }
        catch (Exception failure) when (failure is IOException and not VvuRefusal)
        {
            context.Logger.LogError(VvuTransportEvents.VvuDeviceReset, "{Name}: {Reason}; the device is reset", context.Name, failure.Message);
        }
        finally
        {
            _server = null;
        }
    }

    private VvuDevice? Reopen()
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stopping.Token);
        limit.CancelAfter(TimeSpan.FromSeconds(Math.Max(options.AttachTimeoutSeconds, 1)));
        var pipeline = new ResiliencePipelineBuilder<VvuDevice>()
            .AddRetry(new RetryStrategyOptions<VvuDevice>
            {
                ShouldHandle = new PredicateBuilder<VvuDevice>().Handle<IOException>(exception => exception is not VvuRefusal),
                MaxRetryAttempts = int.MaxValue,
                BackoffType = DelayBackoffType.Exponential,
                Delay = TimeSpan.FromMilliseconds(250),
                MaxDelay = TimeSpan.FromSeconds(5),
                OnRetry = attempt =>
                {
                    context.Logger.LogWarning(
                        VvuTransportEvents.VvuAttachRetried, "{Name}: {Error}; attempt {Attempt}, given up after {Limit} s",
                        context.Name, attempt.Outcome.Exception?.Message, attempt.AttemptNumber + 1, options.AttachTimeoutSeconds);
                    return default;
                },
            })
            .Build();
        try
        {
            return pipeline.Execute(_ => Open(), limit.Token);
        }
        catch (OperationCanceledException)
        {
            if (!_stopping.IsCancellationRequested)
            {
                context.Logger.LogError(VvuTransportEvents.VvuAttachGivenUp, "{Name}: no vvu device at {Address} within {Limit} s; restart vhostd when it is back", context.Name, options.Address, options.AttachTimeoutSeconds);
            }

            return null;
        }
    }
}
