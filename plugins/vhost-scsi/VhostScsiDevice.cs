using System.Collections.Concurrent;
using Vhost.Abstractions;
using Vhost.Scsi;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostScsi;

/// <summary>A virtio SCSI host device (virtio 1.3, section 5.6) with up to 256 targets.</summary>
internal sealed class VhostScsiDevice : IVirtioDevice, ITargetDevice, ILogicalUnitListener, ICopyScope, ILiveDevice
{
    private const int MaxTargets = 256;

    private readonly DeviceContext _context;
    private readonly ScsiTarget?[] _targets = new ScsiTarget?[MaxTargets];
    private readonly ConcurrentDictionary<ScsiTarget, byte> _targetNumbers = [];
    private readonly Lock _changeLock = new();
    private readonly Dictionary<int, Task> _removals = [];
    private readonly LogicalUnitRegistry _registry;
    private readonly string _identity;
    private readonly ReservationStore? _store;
    private readonly CallCoalescing _coalescing = new();
    private volatile SessionState? _session;
    private volatile VirtioSession? _virtioSession;
    private volatile IReadOnlyList<IReactor> _reactors;
    private int _sessionCount;

    public VhostScsiDevice(
        DeviceContext context,
        VhostScsiOptions options,
        LogicalUnitRegistry registry,
        string identity,
        ReservationStore? store,
        IReadOnlyDictionary<byte, IBdevPort> bdevs)
    {
        _store = store;
        _context = context;
        _registry = registry;
        _identity = identity;
        _reactors = context.Reactors;
        MaxQueueCount = options.Queues + VirtioScsi.FirstRequestQueue;
        MaxQueueSize = options.QueueSize;
        Config = new VirtioScsiConfig(options.Queues);
        foreach (var number in bdevs.Keys.Order())
        {
            var target = new ScsiTarget(registry, $"{context.Name}:{number}", context.Name, identity, store);
            _targets[number] = target;
            _targetNumbers[target] = number;
        }

        // Attached when all is in place, because a change may be reported at once.
        try
        {
            foreach (var (number, port) in bdevs)
            {
                _targets[number]!.Attach(0, port, this);
            }
        }
        catch
        {
            DisposeTargets();
            throw;
        }
    }

    public uint DeviceId => VirtioScsi.DeviceId;

    public ulong OfferedFeatures => VirtioFeatures.DeviceRings | VirtioScsi.FeatureHotplug | VirtioScsi.FeatureChange;

    public int MaxQueueCount { get; }

    public int MaxQueueSize { get; }

    /// <summary>False: vhost-user-scsi front-ends answer their guest's reads themselves.</summary>
    public bool RequiresConfigAccess => false;

    public int ConfigLengthBytes => VirtioScsiConfig.LengthBytes;

    /// <summary>The targets by number.</summary>
    public ReadOnlySpan<ScsiTarget?> Targets => _targets;

    public VirtioScsiConfig Config { get; }

    IEnumerable<ScsiTarget> ICopyScope.Targets => _targets.OfType<ScsiTarget>();

    public void ReadConfig(int offsetBytes, Span<byte> destination) => Config.Read(offsetBytes, destination);

    public bool WriteConfig(int offsetBytes, ReadOnlySpan<byte> source) => Config.Write(offsetBytes, source);

    public IVirtioSession OpenSession(IFrontEnd frontEnd)
    {
        var state = new SessionState(this);
        _session = state;
        OnInitiatorReset();
        var session = new VirtioSession(new VirtioSessionOptions
        {
            Name = _context.Name,
            Reactors = _reactors,
            Coalescing = _coalescing,
            Id = _sessionCount++,
            FrontEnd = frontEnd,
            Logger = _context.Logger,
            OfferedFeatures = OfferedFeatures,
            MaxQueueCount = MaxQueueCount,
            MaxQueueSize = MaxQueueSize,
            CreateHandler = state.CreateHandler,
            HotTypes = typeof(DeviceServer).Assembly.GetTypes(),
            OnReset = OnInitiatorReset,
            OnClosed = () => OnSessionClosed(state),
        });
        _virtioSession = session;
        return session;
    }

    /// <summary>The number of a nexus' target, or -1 if the guest does not see it any more. Any thread.</summary>
    public int FindTarget(ItlNexus nexus)
        => _targetNumbers.TryGetValue(nexus.Target, out var number) && Volatile.Read(ref _targets[number]) == nexus.Target ? number : -1;

    public void SetCoalescing(TimeSpan delayBase, int iopsThreshold) => _coalescing.Set(delayBase, iopsThreshold);

    public ValueTask MoveAsync(IReadOnlyList<IReactor> reactors, CancellationToken cancellationToken)
    {
        _reactors = reactors;
        return _virtioSession?.MoveAsync(reactors, cancellationToken) ?? ValueTask.CompletedTask;
    }

    public SessionStatus? GetSession() => _virtioSession?.Status;

    public int TargetCount => MaxTargets;

    public void AddTarget(int targetNumber, IBdevPort bdev)
    {
        ArgumentNullException.ThrowIfNull(bdev);
        ArgumentOutOfRangeException.ThrowIfNegative(targetNumber);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(targetNumber, MaxTargets);
        lock (_changeLock)
        {
            if (_targets[targetNumber] is not null)
            {
                throw new ArgumentException($"target {targetNumber} of {_context.Name} is in use", nameof(targetNumber));
            }

            if (_removals.ContainsKey(targetNumber))
            {
                throw new InvalidOperationException($"target {targetNumber} of {_context.Name} is still being removed: its bdev has requests under way");
            }

            var target = new ScsiTarget(_registry, $"{_context.Name}:{targetNumber}", _context.Name, _identity, _store);
            _targetNumbers[target] = (byte)targetNumber;
            try
            {
                target.Attach(0, bdev, this);
            }
            catch
            {
                _targetNumbers.TryRemove(target, out _);
                throw;
            }

            Volatile.Write(ref _targets[targetNumber], target);
        }

        // A bdev that is not there yet reports itself when it appears.
        if (bdev.Info is not null)
        {
            _session?.ReportChange((byte)targetNumber, BdevChange.Appeared);
        }
    }

    public async ValueTask<bool> RemoveTargetAsync(int targetNumber, CancellationToken cancellationToken)
    {
        Task? removal;
        lock (_changeLock)
        {
            if (!_removals.TryGetValue(targetNumber, out removal))
            {
                if ((uint)targetNumber >= MaxTargets || _targets[targetNumber] is not { } target)
                {
                    return false;
                }

                Volatile.Write(ref _targets[targetNumber], null);
                removal = RemoveAsync((byte)targetNumber, target);
                if (!removal.IsCompleted)
                {
                    _removals.Add(targetNumber, removal);
                }
            }
        }

        await removal.WaitAsync(cancellationToken).ConfigureAwait(false);
        return true;
    }

    public void OnLogicalUnitChanged(ItlNexus nexus, BdevChange change)
    {
        // A target that is being removed was reported as gone already; a device's health is in log pages, of which no event tells.
        if (change != BdevChange.Warned && _targetNumbers.TryGetValue(nexus.Target, out var number))
        {
            _session?.ReportChange(number, change);
        }
    }

    public void AbortTasks(ItlNexus nexus, Action onDone)
    {
        if (_session is { } session && _targetNumbers.TryGetValue(nexus.Target, out var number))
        {
            session.AbortTasks(number, onDone);
        }
        else
        {
            onDone();
        }
    }

    public ValueTask DisposeAsync()
    {
        _session = null;
        DisposeTargets();
        return ValueTask.CompletedTask;
    }

    /// <summary>
    /// Requests begun from now on find no target. Those under way are aborted, then each queue closes its channel, and only then nobody uses
    /// the logical unit any more.
    /// </summary>
    private async Task RemoveAsync(byte number, ScsiTarget target)
    {
        if (_session is { } session)
        {
            session.ReportChange(number, BdevChange.Removed);
            var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            session.EndNexus(number, ended.SetResult);
            await ended.Task.ConfigureAwait(false);
            await Task.WhenAll(session.GetRequestQueues().Select(queue => queue.CloseChannelAsync(number))).ConfigureAwait(false);
        }

        lock (_changeLock)
        {
            _targetNumbers.TryRemove(target, out _);
            target.Dispose();
            _removals.Remove(number);
        }
    }

    private void DisposeTargets()
    {
        foreach (var target in _targets)
        {
            target?.Dispose();
        }
    }

    private void OnSessionClosed(SessionState state)
    {
        if (ReferenceEquals(Interlocked.CompareExchange(ref _session, null, state), state))
        {
            _virtioSession = null;
        }

        OnInitiatorReset();
    }

    private void OnInitiatorReset()
    {
        Config.Reset();
        foreach (var target in _targets)
        {
            target?.OnPowerOn();
        }
    }
}
