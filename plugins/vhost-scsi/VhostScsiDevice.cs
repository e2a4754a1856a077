using Vhost.Abstractions;
using Vhost.Scsi;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostScsi;

/// <summary>A virtio SCSI host device (virtio 1.3, section 5.6) with up to 256 targets.</summary>
internal sealed class VhostScsiDevice : IVirtioDevice, ILogicalUnitListener
{
    private const int TargetCount = 256;

    private readonly DeviceContext _context;
    private readonly ScsiTarget?[] _targets = new ScsiTarget?[TargetCount];
    private readonly Dictionary<ScsiTarget, byte> _targetNumbers = [];
    private volatile SessionState? _session;

    public VhostScsiDevice(DeviceContext context, VhostScsiOptions options, LogicalUnitRegistry registry, string identity, IReadOnlyDictionary<byte, IBdevPort> bdevs)
    {
        _context = context;
        MaxQueueCount = options.Queues + VirtioScsi.FirstRequestQueue;
        MaxQueueSize = options.QueueSize;
        Config = new VirtioScsiConfig(options.Queues);
        foreach (var number in bdevs.Keys.Order())
        {
            var target = new ScsiTarget(registry, $"{context.Name}:{number}", context.Name, identity);
            _targets[number] = target;
            _targetNumbers.Add(target, number);
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

    public void ReadConfig(int offsetBytes, Span<byte> destination) => Config.Read(offsetBytes, destination);

    public bool WriteConfig(int offsetBytes, ReadOnlySpan<byte> source) => Config.Write(offsetBytes, source);

    public IVirtioSession OpenSession(IFrontEnd frontEnd)
    {
        var state = new SessionState(this);
        _session = state;
        OnInitiatorReset();
        return new VirtioSession(new VirtioSessionOptions
        {
            Name = _context.Name,
            Reactors = _context.Reactors,
            FrontEnd = frontEnd,
            Logger = _context.Logger,
            OfferedFeatures = OfferedFeatures,
            MaxQueueCount = MaxQueueCount,
            MaxQueueSize = MaxQueueSize,
            CreateHandler = state.CreateHandler,
            OnReset = OnInitiatorReset,
            OnClosed = () => OnSessionClosed(state),
        });
    }

    public void OnLogicalUnitChanged(ItlNexus nexus, BdevChange change)
        => _session?.ReportChange(_targetNumbers[nexus.Target], change);

    public void AbortTasks(ItlNexus nexus, Action onDone)
    {
        if (_session is { } session)
        {
            session.AbortTasks(_targetNumbers[nexus.Target], onDone);
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

    private void DisposeTargets()
    {
        foreach (var target in _targets)
        {
            target?.Dispose();
        }
    }

    private void OnSessionClosed(SessionState state)
    {
        Interlocked.CompareExchange(ref _session, null, state);
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
