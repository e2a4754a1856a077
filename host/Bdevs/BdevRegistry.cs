using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Host.Observability;

namespace Vhost.Host.Bdevs;

/// <summary>All bdevs by name: the ports that users hold, and the bdevs that sources publish. Control threads only.</summary>
/// <param name="loggers">Makes loggers.</param>
internal sealed class BdevRegistry(ILoggerFactory loggers)
{
    private readonly Lock _lock = new();
    private readonly ILogger _logger = loggers.CreateLogger("vhostd.bdevs");
    private readonly Dictionary<string, BdevPort> _ports = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (SourcePublisher Publisher, BdevAttachment Attachment)> _published = new(StringComparer.Ordinal);

    // Of simple bdevs that are withdrawn, until nothing of theirs can land any more.
    private readonly List<LateWrites> _late = [];

    /// <summary>The last comings and goings.</summary>
    internal BdevNotifications Notifications { get; } = new();

    /// <summary>How long a withdrawal waits for requests under way.</summary>
    internal TimeSpan DrainLimit { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>The port of a name, whether a bdev is there or not.</summary>
    /// <param name="name">The bdev's name.</param>
    internal BdevPort GetPort(string name)
    {
        lock (_lock)
        {
            if (!_ports.TryGetValue(name, out var port))
            {
                port = new BdevPort(name, _logger);
                _ports.Add(name, port);
            }

            return port;
        }
    }

    /// <summary>The ports that somebody asked for or published to, by name.</summary>
    internal IReadOnlyList<BdevPort> GetPorts()
    {
        lock (_lock)
        {
            return [.. _ports.Values.OrderBy(port => port.Name, StringComparer.Ordinal)];
        }
    }

    /// <summary>Makes a source's publisher.</summary>
    /// <param name="sourceName">The source.</param>
    /// <param name="declaration">The names that it may publish.</param>
    internal SourcePublisher CreatePublisher(string sourceName, BdevDeclaration declaration) => new(this, sourceName, declaration);

    internal void Publish(SourcePublisher publisher, IBdev bdev)
    {
        ArgumentNullException.ThrowIfNull(bdev);
        var name = bdev.Name;
        var source = publisher.SourceName;
        if (!DeclaredNames.IsWellFormed(name) || !DeclaredNames.Contain(publisher.Declaration.PublishedNames, name))
        {
            throw new InvalidOperationException(
                $"source {source} published bdev '{name}', but declared {string.Join(", ", publisher.Declaration.PublishedNames)}: its plugin has to declare what it publishes");
        }

        if (BdevLimits.FindFault(bdev.Info) is { } fault)
        {
            throw new InvalidOperationException($"source {source} published bdev '{name}', which is impossible: {fault}");
        }

        var channels = bdev switch
        {
            IChannelBdev channelBdev => channelBdev,
            SimpleBdev simple => new SimpleBdevAdapter(simple, loggers.CreateLogger($"vhostd.bdev.{name}")),
            _ => throw new InvalidOperationException($"source {source} published bdev '{name}' of type {bdev.GetType()}, which is neither {nameof(IChannelBdev)} nor {nameof(SimpleBdev)}"),
        };
        var port = GetPort(name);
        lock (_lock)
        {
            if (_late.Find(late => late.BdevName == name && !late.Ended.IsCompleted) is { } late)
            {
                (channels as SimpleBdevAdapter)?.Close();
                throw new InvalidOperationException($"source {source} published bdev '{name}' while {late.Describe()}; the name is free when they have returned");
            }

            if (_published.TryGetValue(name, out var other))
            {
                (channels as SimpleBdevAdapter)?.Close();
                throw new InvalidOperationException($"source {source} published bdev '{name}', but source {other.Publisher.SourceName} has published one of that name");
            }

            var attachment = new BdevAttachment(name, bdev, channels, _logger);
            _published.Add(name, (publisher, attachment));
            port.Attach(attachment);
            Notifications.Add(BdevNotifications.Registered, name);
        }

        var info = port.Info;
        _logger.LogInformation(HostEvents.BdevPublished, "bdev {Bdev}: {Count} blocks of {Size} bytes ({Product}), by source {Source}", name, info?.BlockCount, info?.BlockSizeBytes, info?.ProductName, source);
    }

    internal async ValueTask WithdrawAsync(SourcePublisher publisher, string name, string reason)
    {
        BdevAttachment attachment;
        LateWrites? late = null;
        lock (_lock)
        {
            attachment = Find(publisher, name);
            _published.Remove(name);
            if (attachment.Channels is SimpleBdevAdapter simple)
            {
                late = new LateWrites(simple, name, publisher.SourceName);
                _late.Add(late);
            }
        }

        Notifications.Add(BdevNotifications.Unregistered, name);
        _logger.LogInformation(HostEvents.BdevWithdrawn, "bdev {Bdev}: withdrawn ({Reason})", name, reason);
        var port = GetPort(name);
        await port.DetachAsync(attachment, DrainLimit).ConfigureAwait(false);
        if (late is not null)
        {
            ((SimpleBdevAdapter)attachment.Channels).Close();
            if (late.Ended.IsCompleted)
            {
                Forget(late);
            }
            else
            {
                _logger.LogError(HostEvents.LateWrites, "bdev {Bdev}: {Count} writes hang in its plugin and may still land; neither its name nor its storage is used again before they have returned", name, late.Count);
                _ = late.Ended.ContinueWith(
                    _ =>
                    {
                        Forget(late);
                        _logger.LogWarning(HostEvents.LateWritesEnded, "bdev {Bdev}: the writes that hung at its withdrawal have returned", name);
                    },
                    CancellationToken.None,
                    TaskContinuationOptions.None,
                    TaskScheduler.Default);
            }
        }
    }

    /// <summary>What was withdrawn of a source and may still change its storage.</summary>
    /// <param name="sourceName">The source.</param>
    internal IReadOnlyList<LateWrites> GetLateWrites(string sourceName)
    {
        lock (_lock)
        {
            return [.. _late.Where(late => late.SourceName == sourceName && !late.Ended.IsCompleted)];
        }
    }

    private void Forget(LateWrites late)
    {
        lock (_lock)
        {
            _late.Remove(late);
        }
    }

    internal void NotifyChanged(SourcePublisher publisher, string name)
    {
        BdevAttachment attachment;
        lock (_lock)
        {
            attachment = Find(publisher, name);
        }

        var info = attachment.Channels.Info;
        var fault = BdevLimits.FindFault(info);
        if (fault is null && info.BlockSizeBytes != attachment.Limits.PortInfo.BlockSizeBytes)
        {
            fault = "its block size cannot change while it is published; withdraw it and publish it again";
        }

        if (fault is not null)
        {
            // Requests that fit its former shape would meet another one.
            attachment.Quarantine($"it changed to what is impossible: {fault}", null);
            throw new InvalidOperationException($"bdev '{name}' changed to what is impossible: {fault}");
        }

        GetPort(name).Change(info);
    }

    /// <summary>Withdraws everything that a source published, all at a time.</summary>
    internal async Task WithdrawAllAsync(SourcePublisher publisher, string reason)
    {
        string[] names;
        lock (_lock)
        {
            names = [.. _published.Where(entry => ReferenceEquals(entry.Value.Publisher, publisher)).Select(entry => entry.Key)];
        }

        await Task.WhenAll(names.Select(name => WithdrawAsync(publisher, name, reason).AsTask())).ConfigureAwait(false);
    }

    /// <summary>The source that published a bdev, or null.</summary>
    internal string? FindSourceOf(string name)
    {
        lock (_lock)
        {
            return _published.TryGetValue(name, out var entry) ? entry.Publisher.SourceName : null;
        }
    }

    private BdevAttachment Find(SourcePublisher publisher, string name) =>
        _published.TryGetValue(name, out var entry) && ReferenceEquals(entry.Publisher, publisher)
            ? entry.Attachment
            : throw new InvalidOperationException($"source {publisher.SourceName} has not published a bdev '{name}'");
}

/// <summary>One source's way to make bdevs known.</summary>
internal sealed class SourcePublisher(BdevRegistry registry, string sourceName, BdevDeclaration declaration) : IBdevPublisher
{
    private volatile bool _isClosed;
    private volatile Task _closing = Task.CompletedTask;

    internal string SourceName => sourceName;

    internal BdevDeclaration Declaration => declaration;

    /// <inheritdoc/>
    public void Publish(IBdev bdev)
    {
        if (_isClosed)
        {
            throw new InvalidOperationException($"source {sourceName} was stopped and cannot publish any more");
        }

        registry.Publish(this, bdev);
    }

    /// <inheritdoc/>
    // A source that is stopped withdraws what it had; the host has begun to do that before.
    public ValueTask WithdrawAsync(string name, string reason) => _isClosed ? new ValueTask(_closing) : registry.WithdrawAsync(this, name, reason);

    /// <inheritdoc/>
    public void NotifyChanged(string name) => registry.NotifyChanged(this, name);

    /// <summary>The source goes: it publishes nothing any more, and what it published is withdrawn.</summary>
    internal Task CloseAsync(string reason)
    {
        _isClosed = true;
        return _closing = registry.WithdrawAllAsync(this, reason);
    }
}
