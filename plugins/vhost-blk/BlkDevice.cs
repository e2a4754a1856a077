using Vhost.Abstractions;
using Vhost.Virtio;

namespace Vhost.Plugins.VhostBlk;

/// <summary>The virtio block device over one bdev (virtio 1.3, section 5.2). The bdev may be absent, appear, change and go at any time.</summary>
internal sealed class BlkDevice : IVirtioDevice, IBdevObserver, ILiveDevice
{
    private readonly DeviceContext _context;
    private readonly BlkOptions _options;
    private readonly IBdevPort _port;
    private readonly CallCoalescing _coalescing = new();
    private volatile BlkChannel[] _channels;
    private volatile IReadOnlyList<IReactor> _reactors;
    private VirtioSession? _session;
    private int _sessionCount;
    private readonly IDisposable _subscription;
    private readonly Lock _lock = new();
    private IFrontEnd? _frontEnd;
    private bool _hasConfigWce;
    private bool _isWriteback = true;
    private bool _isDisposed;

    public BlkDevice(DeviceContext context, BlkOptions options, IBdevPort port)
    {
        _context = context;
        _options = options;
        _port = port;
        _reactors = context.Reactors;
        _channels = [.. context.Reactors.Select(reactor => new BlkChannel(reactor, port))];
        _subscription = port.Subscribe(this);
    }

    /// <inheritdoc/>
    public uint DeviceId => BlkProtocol.DeviceId;

    /// <inheritdoc/>
    public ulong OfferedFeatures
    {
        get
        {
            var features = VirtioFeatures.DeviceRings | BlkProtocol.FeatureSegMax | BlkProtocol.FeatureBlockSize | BlkProtocol.FeatureFlush
                | BlkProtocol.FeatureTopology | BlkProtocol.FeatureConfigWce | BlkProtocol.FeatureMultiQueue;
            var info = _port.Info;
            features |= info?.LifeUsedPercent is null ? 0 : BlkProtocol.FeatureLifetime;
            if (_options.ReadOnly || info is { IsReadOnly: true })
            {
                return features | BlkProtocol.FeatureReadOnly;
            }

            // A bdev that is not there yet may turn out to be able to: then the guest learns it at its next start.
            var operations = info?.Operations ?? BlockOperations.None;
            return features
                | ((operations & BlockOperations.Discard) != 0 ? BlkProtocol.FeatureDiscard : 0)
                | ((operations & BlockOperations.WriteZeroes) != 0 ? BlkProtocol.FeatureWriteZeroes : 0)
                | (BlkGeometry.CanSecureErase(info) ? BlkProtocol.FeatureSecureErase : 0);
        }
    }

    /// <inheritdoc/>
    public int MaxQueueCount => _options.Queues;

    /// <inheritdoc/>
    public int MaxQueueSize => _options.QueueSize;

    /// <inheritdoc/>
    public bool RequiresConfigAccess => true;

    /// <inheritdoc/>
    public int ConfigLengthBytes => BlkConfig.LengthBytes;

    /// <summary>Whether each write has to be on stable storage before it completes. Any thread.</summary>
    public bool IsWritethrough => !Volatile.Read(ref _isWriteback);

    /// <inheritdoc/>
    public void ReadConfig(int offsetBytes, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        Span<byte> config = stackalloc byte[BlkConfig.LengthBytes];
        BlkConfig.Write(config, _port.Info, _options.Queues, Volatile.Read(ref _isWriteback));
        destination.Clear();
        if (offsetBytes < config.Length)
        {
            var part = config[offsetBytes..];
            part[..Math.Min(part.Length, destination.Length)].CopyTo(destination);
        }
    }

    /// <inheritdoc/>
    public bool WriteConfig(int offsetBytes, ReadOnlySpan<byte> source)
    {
        if (offsetBytes != BlkConfig.WritebackOffsetBytes || source.Length != 1 || !_hasConfigWce || source[0] > 1)
        {
            return false;
        }

        SetWriteback(source[0] != 0);
        return true;
    }

    /// <inheritdoc/>
    public IVirtioSession OpenSession(IFrontEnd frontEnd)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            _frontEnd = frontEnd;
        }

        ForgetNegotiation();
        var session = new VirtioSession(new VirtioSessionOptions
        {
            Name = _context.Name,
            Reactors = _reactors,
            Coalescing = _coalescing,
            Id = _sessionCount++,
            FrontEnd = frontEnd,
            Logger = _context.Logger,
            OfferedFeatures = VirtioFeatures.DeviceRings | BlkProtocol.AllFeatures,
            MaxQueueCount = _options.Queues,
            MaxQueueSize = _options.QueueSize,
            CreateHandler = _ => new BlkQueue(this, _port, _channels, _options),
            OnFeatures = OnFeatures,
            OnReset = ForgetNegotiation,
            OnClosed = () => OnClosed(frontEnd),
        });
        Volatile.Write(ref _session, session);
        return session;
    }

    /// <inheritdoc/>
    public void SetCoalescing(TimeSpan delayBase, int iopsThreshold) => _coalescing.Set(delayBase, iopsThreshold);

    /// <inheritdoc/>
    public ValueTask MoveAsync(IReadOnlyList<IReactor> reactors, CancellationToken cancellationToken)
    {
        // Channels of reactors that are left stay: a queue may still close there, and none costs anything without a queue.
        _channels = [.. _channels, .. reactors.Where(reactor => !_channels.Any(channel => ReferenceEquals(channel.Reactor, reactor))).Select(reactor => new BlkChannel(reactor, _port))];
        _reactors = reactors;
        return Volatile.Read(ref _session)?.MoveAsync(reactors, cancellationToken) ?? ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public SessionStatus? GetSession() => Volatile.Read(ref _session)?.Status;

    /// <inheritdoc/>
    public void OnBdevChanged(IBdevPort port, BdevChange change)
    {
        if (change == BdevChange.Warned)
        {
            // Nothing of a device's health is in the configuration space.
            return;
        }

        IFrontEnd? frontEnd;
        lock (_lock)
        {
            frontEnd = _frontEnd;
        }

        // Appearing, going and growing are all changes of the capacity.
        frontEnd?.NotifyConfigChanged();
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        lock (_lock)
        {
            _isDisposed = true;
            _frontEnd = null;
        }

        _subscription.Dispose();
        return ValueTask.CompletedTask;
    }

    private void OnFeatures(ulong features)
    {
        _hasConfigWce = (features & BlkProtocol.FeatureConfigWce) != 0;
        // Section 5.2.5.2: a driver that cannot flush gets a disk that needs no flush.
        if (features != 0 && (features & BlkProtocol.FeatureFlush) == 0)
        {
            SetWriteback(false);
        }
    }

    private void SetWriteback(bool isWriteback)
    {
        var wasWriteback = Volatile.Read(ref _isWriteback);
        Volatile.Write(ref _isWriteback, isWriteback);
        if (wasWriteback && !isWriteback)
        {
            // What was written before the change is to be as durable as what comes after it.
            foreach (var channel in _channels)
            {
                channel.PostFlush(_context.Logger);
            }
        }
    }

    private void ForgetNegotiation()
    {
        _hasConfigWce = false;
        Volatile.Write(ref _isWriteback, true);
    }

    private void OnClosed(IFrontEnd frontEnd)
    {
        lock (_lock)
        {
            if (ReferenceEquals(_frontEnd, frontEnd))
            {
                _frontEnd = null;
                Volatile.Write(ref _session, null);
            }
        }
    }
}
