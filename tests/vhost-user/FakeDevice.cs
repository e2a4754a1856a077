using System.Collections.Concurrent;
using Vhost.Abstractions;

namespace Vhost.VhostUser.Tests;

/// <summary>A device that does nothing and records what it is asked to do.</summary>
internal sealed class FakeDevice : IVirtioDevice
{
    private readonly byte[] _config = [.. Enumerable.Range(1, 60).Select(i => (byte)i)];

    public uint DeviceId => 2;

    public ulong OfferedFeatures { get; set; } =
        VhostUserFeatures.Version1 | VhostUserFeatures.RingPacked | VhostUserFeatures.AccessPlatform | (1UL << 28) | (1UL << 29) | 0x40;

    public int MaxQueueCount { get; set; } = 4;

    public int MaxQueueSize { get; set; } = 1024;

    public bool RequiresConfigAccess => true;

    public int ConfigLengthBytes => _config.Length;

    public ConcurrentQueue<FakeSession> Sessions { get; } = new();

    /// <summary>How many requests every stop leaves behind.</summary>
    public int AbandonedRequests { get; set; }

    /// <summary>Whether stops and memory changes wait until they are cut short.</summary>
    public bool Hangs { get; set; }

    public FakeSession Session => Sessions.Last();

    public void ReadConfig(int offsetBytes, Span<byte> destination)
    {
        for (var i = 0; i < destination.Length; i++)
        {
            destination[i] = offsetBytes + i < _config.Length ? _config[offsetBytes + i] : (byte)0;
        }
    }

    public bool WriteConfig(int offsetBytes, ReadOnlySpan<byte> source)
    {
        if (offsetBytes != 32 || source.Length != 1)
        {
            return false;
        }

        _config[32] = source[0];
        return true;
    }

    public IVirtioSession OpenSession(IFrontEnd frontEnd)
    {
        var session = new FakeSession(this, frontEnd);
        Sessions.Enqueue(session);
        return session;
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
