using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>
/// The contract's session, for every device type: features, memory with leases, and the life of the queues. What the requests of a queue
/// mean is its <see cref="IVirtqueueHandler"/>'s business.
/// </summary>
public sealed partial class VirtioSession : IVirtioSession
{
    /// <summary>
    /// How long an answer of a reactor is awaited after a wait was cancelled. A reactor that is stuck in a plugin answers later; until then its
    /// queue counts as given up with requests under way.
    /// </summary>
    private static readonly TimeSpan ReactorGrace = TimeSpan.FromMilliseconds(250);

    /// <summary>How long disposing waits for requests under way.</summary>
    private static readonly TimeSpan DisposeLimit = TimeSpan.FromSeconds(2);

    private const int Places = 1024;

    private readonly VirtioSessionOptions _options;
    private readonly FaultReporter _faults;
    private readonly Virtqueue?[] _queues;
    private readonly VirtqueueState[] _lastStates;
    private readonly List<Virtqueue> _givenUp = [];
    private readonly VirtqueueSetup?[] _setups;

    // The transport takes care of the order of its own calls, of which it makes several at a time when a session ends: each takes one place.
    // A move may come at any time, and takes them all.
    private readonly SemaphoreSlim _turn = new(Places);
    private readonly SemaphoreSlim _moveTurn = new(1);
    private IReadOnlyList<IReactor> _reactors;
    private GuestAddressSpace _memory = GuestAddressSpace.Empty;
    private bool _isDisposed;

    /// <summary>Opens a session.</summary>
    /// <param name="options">What the device type gives.</param>
    public VirtioSession(VirtioSessionOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfZero(options.Reactors.Count, nameof(options));
        _options = options;
        _faults = new FaultReporter(options.FrontEnd, options.Logger);
        _queues = new Virtqueue?[options.MaxQueueCount];
        _lastStates = new VirtqueueState[options.MaxQueueCount];
        _setups = new VirtqueueSetup?[options.MaxQueueCount];
        _reactors = options.Reactors;
    }

    /// <summary>The features that the driver accepted.</summary>
    public ulong Features { get; private set; }

    /// <summary>Requests of queues that were given up and that have not come back yet.</summary>
    public int AbandonedRequestCount
    {
        get
        {
            var count = 0;
            foreach (var queue in _givenUp)
            {
                count += queue.UnderWayCount;
            }

            return count;
        }
    }

    /// <summary>A running queue, or null: for statistics, and to reach its handler's reactor.</summary>
    /// <param name="queueIndex">The queue.</param>
    public Virtqueue? GetQueue(int queueIndex) =>
        (uint)queueIndex < (uint)_queues.Length ? Volatile.Read(ref _queues[queueIndex]) : null;

    /// <inheritdoc/>
    public void SetFeatures(ulong features)
    {
        if ((features & ~_options.OfferedFeatures) != 0)
        {
            throw new ArgumentException($"the driver accepted features that {_options.Name} did not offer: 0x{features & ~_options.OfferedFeatures:x}", nameof(features));
        }

        Features = features;
        _options.OnFeatures?.Invoke(features);
    }

    /// <inheritdoc/>
    public async ValueTask<int> SetMemoryAsync(GuestMemoryMap memory, IReadOnlyDictionary<int, VirtqueueAddresses> rings, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(rings);
        await _turn.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            return await ReplaceMemoryAsync(memory, rings, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <inheritdoc/>
    public async ValueTask StartQueueAsync(VirtqueueSetup setup, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(setup);
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        VirtqueueSetupCheck.Check(setup, Features, _options.MaxQueueCount, _options.MaxQueueSize);
        await _turn.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            if (_queues[setup.QueueIndex] != null)
            {
                throw new ArgumentException($"queue {setup.QueueIndex} runs already", nameof(setup));
            }

            await StartAsync(setup, _reactors[setup.QueueIndex % _reactors.Count], cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <inheritdoc/>
    public async ValueTask<VirtqueueStop> StopQueueAsync(int queueIndex, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)queueIndex, (uint)_queues.Length, nameof(queueIndex));
        await _turn.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            return await StopInTurnAsync(queueIndex, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    private async Task<int> ReplaceMemoryAsync(GuestMemoryMap memory, IReadOnlyDictionary<int, VirtqueueAddresses> rings, CancellationToken cancellationToken)
    {
        var space = new GuestAddressSpace(memory);
        _memory = space;
        var leases = new List<MemoryLease>();
        var unanswered = 0;
        _givenUp.RemoveAll(queue => queue.UnderWayCount == 0);
        var queues = _queues.OfType<Virtqueue>().ToArray();
        foreach (var queue in queues.Concat(_givenUp))
        {
            VirtqueueAddresses? addresses = rings.TryGetValue(queue.Index, out var found) && !_givenUp.Contains(queue) ? found : null;
            if (addresses is { } moved && _setups[queue.Index] is { } setup)
            {
                _setups[queue.Index] = setup with { Addresses = moved };
            }

            var swap = queue.Reactor.InvokeAsync(() => queue.ReplaceMemory(space, addresses));
            try
            {
                if (await WaitAsync(swap, cancellationToken).ConfigureAwait(false) is { } lease)
                {
                    leases.Add(lease);
                }
            }
            catch (TimeoutException)
            {
                // The reactor is stuck and goes on to use the former map as soon as it is not: nothing may be unmapped.
                unanswered += Math.Max(1, queue.UnderWayCount);
            }
        }

        try
        {
            foreach (var lease in leases)
            {
                await lease.Released.WaitAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // The count says it.
        }

        return unanswered + leases.Sum(lease => lease.Count);
    }

    private async Task StartAsync(VirtqueueSetup setup, IReactor reactor, CancellationToken cancellationToken)
    {
        var handler = _options.CreateHandler(setup.QueueIndex);
        HotPath.Prepare(handler, _options.HotTypes);
        var queue = Virtqueue.Create(new VirtqueueContext
        {
            Name = $"{_options.Name} queue {setup.QueueIndex}",
            Reactor = reactor,
            Setup = setup,
            Features = Features,
            Memory = _memory,
            Handler = handler,
            OnFault = _faults.Report,
            Coalescing = _options.Coalescing,
        });
        var start = reactor.InvokeAsync(() => queue.Start(setup.KickFileDescriptor));
        try
        {
            await start.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (queue.TryCallOffStart())
        {
            // Nothing of this session is touched by it any more, whenever the reactor comes back; what the queue owns itself is freed then.
            reactor.Post(static state => ((Virtqueue)state!).GiveUp(), queue);
            throw;
        }
        catch (OperationCanceledException)
        {
            // The reactor is at it, and may not return from it: then the queue is one that runs and does not answer when it is stopped.
            try
            {
                await start.WaitAsync(ReactorGrace, CancellationToken.None).ConfigureAwait(false);
            }
            catch (TimeoutException) when (!start.IsCompleted)
            {
                Keep(setup, queue);
                throw new OperationCanceledException($"{queue.Name} does not return from its start", cancellationToken);
            }
        }

        // It may have failed at the moment when the wait ended.
        await start.ConfigureAwait(false);
        Keep(setup, queue);
    }

    private void Keep(VirtqueueSetup setup, Virtqueue queue)
    {
        _setups[setup.QueueIndex] = setup;
        Volatile.Write(ref _queues[setup.QueueIndex], queue);
    }

    private async Task<VirtqueueStop> StopInTurnAsync(int queueIndex, CancellationToken cancellationToken)
    {
        var queue = _queues[queueIndex];
        if (queue == null)
        {
            return new VirtqueueStop(_lastStates[queueIndex], 0);
        }

        var stop = await StopAsync(queue, cancellationToken).ConfigureAwait(false);
        Volatile.Write(ref _queues[queueIndex], null);
        _lastStates[queueIndex] = stop.State;
        if (stop.AbandonedRequestCount != 0)
        {
            _givenUp.Add(queue);
        }

        return stop;
    }

    /// <inheritdoc/>
    public void ResetDevice()
    {
        Features = 0;
        Array.Clear(_lastStates);
        _options.OnReset?.Invoke();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        await _turn.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            using var limit = new CancellationTokenSource(DisposeLimit);
            // All at once, so that one slow queue does not take the time of the others.
            var running = Enumerable.Range(0, _queues.Length).Where(index => _queues[index] != null);
            await Task.WhenAll(running.Select(index => StopInTurnAsync(index, limit.Token)).ToArray()).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }

        _options.OnClosed?.Invoke();
    }

    private static async Task<T> WaitAsync<T>(Task<T> answer, CancellationToken cancellationToken)
    {
        try
        {
            return await answer.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!answer.IsCanceled)
        {
            return await answer.WaitAsync(ReactorGrace, CancellationToken.None).ConfigureAwait(false);
        }
    }

    private static async Task<VirtqueueStop> StopAsync(Virtqueue queue, CancellationToken cancellationToken)
    {
        queue.Reactor.Post(static state => ((Virtqueue)state!).BeginStop(), queue);
        try
        {
            return await queue.Stopped.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            try
            {
                return await queue.Reactor.InvokeAsync(queue.GiveUp).WaitAsync(ReactorGrace, CancellationToken.None).ConfigureAwait(false);
            }
            catch (TimeoutException)
            {
                // The reactor is stuck: the queue is given up when it comes back, and until then everything stays mapped.
                return new VirtqueueStop(queue.State, Math.Max(1, queue.UnderWayCount));
            }
        }
    }
}
