using Vhost.Abstractions;
using Vhost.Pci;
using Vhost.Virtio;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VvuTransport;

/// <summary>One of the device's two virtqueues with a buffer for each entry: messages to this side (rx) or to the other (tx). The server's thread only.</summary>
internal sealed unsafe class MessageQueue : IDisposable
{
    /// <summary>Size of a buffer: the longest message and some more, so that a device that sends too much is found out.</summary>
    public const int BufferBytes = 2048;

    private const int MaxEntries = 128;
    private readonly DmaMemory _ringMemory;
    private readonly DmaMemory _buffers;
    private readonly DriverVirtqueue _ring;
    private readonly VirtioPciQueue _doorbell;
    private readonly Queue<int> _free = new();
    private readonly string _name;
    private readonly int _size;

    public MessageQueue(VirtioPciDevice virtio, int index, string name, ulong features, ushort vector)
    {
        var device = virtio.Device;
        _name = $"{device.Address}: the {name} queue";
        var max = virtio.GetMaxQueueSize(index);
        if (max is < 2 or > 32768 || !int.IsPow2(max))
        {
            throw new VvuRefusal($"{_name} has the impossible size {max}");
        }

        var size = Math.Min(max, MaxEntries);
        var layout = new DriverVirtqueueLayout(VirtqueueFormat.Split, size);
        _ringMemory = device.Dma.Allocate((nuint)layout.TotalBytes, isContiguous: true);
        try
        {
            _buffers = device.Dma.Allocate((nuint)(size * BufferBytes), isContiguous: true);
            _ring = DriverVirtqueue.Create(
                VirtqueueFormat.Split, size, features, new DriverVirtqueueMemory(layout, (byte*)_ringMemory.Address, _ringMemory.Iova));
            _doorbell = virtio.EnableQueue(
                index, size, _ringMemory.Iova + (ulong)layout.DescriptorsOffsetBytes, _ringMemory.Iova + (ulong)layout.DriverOffsetBytes,
                _ringMemory.Iova + (ulong)layout.DeviceOffsetBytes, vector);
        }
        catch
        {
            Dispose();
            throw;
        }

        _size = size;
        for (var i = 0; i < size; i++)
        {
            _free.Enqueue(i);
        }
    }

    /// <summary>Gives the device all buffers to write to.</summary>
    public void GiveAll()
    {
        while (_free.TryDequeue(out var index))
        {
            Give(index);
        }

        Announce();
    }

    /// <summary>Takes the next message and gives its buffer back.</summary>
    /// <param name="destination">At least <see cref="BufferBytes"/>.</param>
    /// <param name="length">Its length.</param>
    /// <exception cref="VvuFailure">The device broke the ring.</exception>
    public bool TryReceive(Span<byte> destination, out int length)
    {
        length = 0;
        if (!TryTakeBack(out var index, out var written))
        {
            return false;
        }

        // Copied out: the other side cannot change it while it is looked at, and the buffer is free for the next one.
        length = (int)Math.Min(written, BufferBytes);
        new ReadOnlySpan<byte>((byte*)_buffers.Address + ((nint)index * BufferBytes), length).CopyTo(destination);
        Give(index);
        Announce();
        return true;
    }

    /// <summary>Sends a message, if there is a free buffer.</summary>
    /// <param name="first">The first part.</param>
    /// <param name="second">What follows it.</param>
    /// <returns>False when the device has all buffers.</returns>
    public bool TrySend(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        TakeBackSent();
        if (!_free.TryDequeue(out var index))
        {
            return false;
        }

        var buffer = new Span<byte>((byte*)_buffers.Address + ((nint)index * BufferBytes), BufferBytes);
        first.CopyTo(buffer);
        second.CopyTo(buffer[first.Length..]);
        if (!_ring.TryAdd([new(_buffers.Iova + ((ulong)index * BufferBytes), (uint)(first.Length + second.Length))], [], (uint)index))
        {
            _free.Enqueue(index);
            return false;
        }

        Announce();
        return true;
    }

    /// <summary>How many messages that were sent the device has not taken yet.</summary>
    /// <exception cref="VvuFailure">The device broke the ring.</exception>
    public int CountPending()
    {
        TakeBackSent();
        return _size - _free.Count;
    }

    /// <summary>Whether something waits.</summary>
    public bool HasMessage => _ring.HasUsed;

    /// <summary>Asks for an interrupt; false if there is something already.</summary>
    public bool TryArm() => _ring.TryEnableInterrupts();

    /// <inheritdoc/>
    public void Dispose()
    {
        _ringMemory.Dispose();
        _buffers?.Dispose();
    }

    private void Give(int index) => _ring.TryAdd([], [new(_buffers.Iova + ((ulong)index * BufferBytes), BufferBytes)], (uint)index);

    private void TakeBackSent()
    {
        while (TryTakeBack(out var done, out _))
        {
            _free.Enqueue(done);
        }
    }

    private bool TryTakeBack(out int index, out uint written)
    {
        var isThere = _ring.TryGetUsed(out var token, out written);
        index = (int)(uint)token;
        return _ring.BrokenReason is { } reason ? throw new VvuFailure($"{_name} is broken: {reason}") : isThere;
    }

    private void Announce()
    {
        if (_ring.Publish())
        {
            _doorbell.Notify();
        }
    }
}
