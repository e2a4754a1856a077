using System.Buffers.Binary;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Plugins.VirtioScsi.Queues;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VirtioScsi.Controller;

/// <summary>The event queue: hot-plug and changes (virtio 1.3, section 5.6.6.3). HBA thread only.</summary>
internal sealed unsafe class EventQueue : IDisposable
{
    /// <summary>VIRTIO_SCSI_T_EVENTS_MISSED.</summary>
    public const uint EventsMissed = 0x8000_0000;

    /// <summary>VIRTIO_SCSI_T_TRANSPORT_RESET.</summary>
    public const uint TransportReset = 1;

    /// <summary>VIRTIO_SCSI_T_PARAM_CHANGE.</summary>
    public const uint ParameterChange = 3;

    private const int EventBytes = 16;
    private readonly QueueMemory _memory;
    private readonly VirtioPciQueue _doorbell;
    private readonly string _address;

    public EventQueue(IPciDevice device, QueueMemory memory, VirtioPciQueue doorbell)
    {
        _address = device.Address;
        _memory = memory;
        _doorbell = doorbell;
    }

    /// <summary>Events that were taken.</summary>
    public long AnswerCount { get; private set; }

    /// <summary>Gives the device all buffers. Once the device runs.</summary>
    public void Fill()
    {
        for (var i = 0; i < _memory.Ring.Size; i++)
        {
            Give(i);
        }

        Announce();
    }

    /// <summary>Takes the next event.</summary>
    /// <param name="kind">The event, with <see cref="EventsMissed"/> where some were lost.</param>
    /// <param name="target">The target it is about.</param>
    /// <param name="reason">Depends on the kind.</param>
    public bool TryTake(out uint kind, out int target, out uint reason)
    {
        kind = reason = 0;
        target = -1;
        if (!_memory.Ring.TryGetUsed(out var token, out var written))
        {
            return _memory.Ring.BrokenReason is { } broken ? throw new ControllerFailure($"{_address}: the event queue is broken: {broken}") : false;
        }

        AnswerCount++;
        var page = _memory.Pages.Page((int)token, out _);
        if (written >= EventBytes)
        {
            var data = new ReadOnlySpan<byte>(page, EventBytes);
            kind = BinaryPrimitives.ReadUInt32LittleEndian(data);
            // The LUN field: 1, target, ...; all zeroes when events were missed.
            target = data[4] == 1 ? data[5] : -1;
            reason = BinaryPrimitives.ReadUInt32LittleEndian(data[12..]);
        }

        Give((int)token);
        Announce();
        return true;
    }

    /// <summary>Asks for an interrupt; false if there are events already.</summary>
    public bool TryArm() => _memory.Ring.TryEnableInterrupts();

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    private void Give(int index)
    {
        _memory.Pages.Page(index, out var iova);
        _memory.Ring.TryAdd([], [new(iova, EventBytes)], (uint)index);
    }

    private void Announce()
    {
        if (_memory.Ring.Publish())
        {
            _doorbell.Notify();
        }
    }
}
