using System.Diagnostics;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Plugins.VirtioScsi.Queues;
using Vhost.Plugins.VirtioScsi.Scsi;
using Vhost.VirtioPci;

namespace Vhost.Plugins.VirtioScsi.Controller;

/// <summary>The control queue: task management functions, one at a time, waited for on the HBA's thread (virtio 1.3, section 5.6.6.2).</summary>
internal sealed unsafe class ControlQueue : IDisposable
{
    /// <summary>VIRTIO_SCSI_T_TMF_ABORT_TASK.</summary>
    public const uint AbortTask = 0;

    /// <summary>VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET.</summary>
    public const uint LogicalUnitReset = 5;

    private const int TmfBytes = 24;
    private readonly QueueMemory _memory;
    private readonly VirtioPciQueue _doorbell;
    private readonly string _address;
    private ulong _sequence;

    public ControlQueue(IPciDevice device, QueueMemory memory, VirtioPciQueue doorbell)
    {
        _address = device.Address;
        _memory = memory;
        _doorbell = doorbell;
    }

    /// <summary>Answers that were taken.</summary>
    public long AnswerCount { get; private set; }

    /// <summary>Sends a task management function and waits for the answer.</summary>
    /// <param name="function">Which.</param>
    /// <param name="unit">To whom.</param>
    /// <param name="tag">The command it is about, for those that are about one.</param>
    /// <param name="limit">How long to wait.</param>
    /// <param name="wait">Sleeps until an interrupt or for the time given; false if the device is gone.</param>
    /// <returns>The response code: 0 done, 8 succeeded, 10 rejected; or null without an answer in time.</returns>
    public byte? Execute(uint function, LogicalUnit unit, ulong tag, TimeSpan limit, Func<TimeSpan, bool> wait)
    {
        // An answer that comes after its time finds the page of its own slot untouched: slots are used in turn.
        var slot = (int)(_sequence % (ulong)_memory.Ring.Size);
        var page = _memory.Pages.Page(slot, out var iova);
        var token = ++_sequence;
        *(uint*)page = 0; // VIRTIO_SCSI_T_TMF
        *(uint*)(page + 4) = function;
        *(ulong*)(page + 8) = unit.Address;
        *(ulong*)(page + 16) = tag;
        page[QueueMemory.ResponseOffset] = 9;
        if (!_memory.Ring.TryAdd([new(iova, TmfBytes)], [new(iova + QueueMemory.ResponseOffset, 1)], token))
        {
            return null;
        }

        if (_memory.Ring.Publish())
        {
            _doorbell.Notify();
        }

        var start = Stopwatch.GetTimestamp();
        while (true)
        {
            while (_memory.Ring.TryGetUsed(out var done, out _))
            {
                AnswerCount++;
                if (done == token)
                {
                    return page[QueueMemory.ResponseOffset];
                }
            }

            if (_memory.Ring.BrokenReason is { } reason)
            {
                throw new ControllerFailure($"{_address}: the control queue is broken: {reason}");
            }

            var left = limit - Stopwatch.GetElapsedTime(start);
            if (left <= TimeSpan.Zero || (_memory.Ring.TryEnableInterrupts() && !wait(left)))
            {
                return null;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();
}
