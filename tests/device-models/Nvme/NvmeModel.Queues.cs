using System.Diagnostics;
using Vhost.VfioUser;

namespace Vhost.Testing.DeviceModels.Nvme;

/// <summary>Queues and completions.</summary>
public sealed unsafe partial class NvmeModel
{
    private readonly SortedDictionary<int, SubmissionQueue> _submissions = [];
    private readonly Dictionary<int, CompletionQueue> _completions = [];
    private readonly List<NvmeModelCommand> _held = [];
    private SubmissionQueue[] _polled = [];
    private ulong _shadow;
    private ulong _shadowEvents;

    private int PollQueues()
    {
        if (Session is null || (_status & (StatusReady | StatusFatal)) != StatusReady)
        {
            return 0;
        }

        if (_polled.Length != _submissions.Count || (_polled.Length > 0 && _polled[0] != _submissions[0]))
        {
            _polled = [.. _submissions.Values];
        }

        var count = 0;
        foreach (var queue in _polled)
        {
            count += PollQueue(queue);
        }

        return count;
    }

    private int PollQueue(SubmissionQueue queue)
    {
        var tail = ReadTail(queue);
        if (tail == queue.Head)
        {
            return 0;
        }

        var seen = Stopwatch.GetTimestamp();
        var count = 0;
        if (tail >= (uint)queue.Size)
        {
            Counters.Violations++;
            _status |= StatusFatal;
            return 0;
        }

        while (queue.Head != tail && (_status & StatusFatal) == 0 && !queue.IsDeleted)
        {
            if (!Session!.Dma.TryTranslate(queue.Base + (queue.Head * 64), 64, forWriting: false, out var address))
            {
                Counters.Violations++;
                _status |= StatusFatal;
                return count;
            }

            // SAFETY: the 64 bytes were translated; the lock keeps them mapped.
            var entry = (uint*)address;
            var command = new NvmeModelCommand(
                queue.Id, (byte)entry[0], (byte)(entry[0] >> 8), (ushort)(entry[0] >> 16), entry[1], *(ulong*)(entry + 6), *(ulong*)(entry + 8), entry[10], entry[11], entry[12]);
            queue.Head = queue.Head + 1 == (uint)queue.Size ? 0 : queue.Head + 1;
            count++;
            Counters.Commands++;
            var fault = (queue.Id == 0 ? Settings.OnAdmin : Settings.OnIo)?.Invoke(command) ?? NvmeFault.None;
            if (fault == NvmeFault.Fatal)
            {
                _status |= StatusFatal;
                break;
            }

            var status = 0;
            uint result = 0;
            var answers = true;
            if (fault == NvmeFault.MediaError)
            {
                status = 0x281;
            }
            else if (fault != NvmeFault.Hold)
            {
                status = queue.Id == 0 ? ExecuteAdmin(command, out result, out answers) : ExecuteIo(command);
            }

            if (fault == NvmeFault.Hold)
            {
                _held.Add(command);
            }
            else if (answers)
            {
                // Before the completion, whose release makes it visible: the reader of the completion reads the time of its own command.
                Counters.LastServiceTicks = Stopwatch.GetTimestamp() - seen;
                Answer(queue, command, status, result, fault);
            }
        }

        if (queue.Completion.NeedsInterrupt)
        {
            Interrupt(queue.Completion);
        }

        return count;
    }

    private uint ReadTail(SubmissionQueue queue)
    {
        if (_shadow != 0 && queue.Id != 0 && Session!.Dma.TryTranslate(_shadow + ((ulong)queue.Id * 8), 4, forWriting: false, out var shadow))
        {
            var tail = Volatile.Read(ref *(uint*)shadow);
            if (Session.Dma.TryTranslate(_shadowEvents + ((ulong)queue.Id * 8), 4, forWriting: true, out var wanted))
            {
                Volatile.Write(ref *(uint*)wanted, tail);
            }

            // Store-load: the event index is visible before the shadow is read again. Pairs with the driver's fence between both.
            Interlocked.MemoryBarrier();
            return Volatile.Read(ref *(uint*)shadow);
        }

        return Volatile.Read(ref *(uint*)(_doorbells.Address + (queue.Id * 8)));
    }

    private void Answer(SubmissionQueue queue, NvmeModelCommand command, int status, uint result, NvmeFault fault)
    {
        switch (fault)
        {
            case NvmeFault.Twice:
                Post(queue, command.Id, status, result);
                Post(queue, command.Id, status, result);
                break;
            case NvmeFault.ForeignId:
                Post(queue, 0xeeee, status, result);
                break;
            case NvmeFault.ForeignQueue:
                Post(queue, command.Id, status, result, queueId: queue.Id + 1);
                break;
            case NvmeFault.OldPhase:
                Post(queue, command.Id, status, result, flipsPhase: false);
                break;
            case NvmeFault.Flood:
                for (var i = 0; i < queue.Completion.Size / 2; i++)
                {
                    Post(queue, command.Id, status, result);
                }

                break;
            default:
                Post(queue, command.Id, status, result);
                break;
        }
    }

    private void Post(SubmissionQueue queue, ushort id, int status, uint result, int? queueId = null, bool flipsPhase = true)
    {
        var completion = queue.Completion;
        if (!Session!.Dma.TryTranslate(completion.Base + ((ulong)completion.Tail * 16), 16, forWriting: true, out var address))
        {
            Counters.Violations++;
            return;
        }

        // SAFETY: the 16 bytes were translated; the lock keeps them mapped.
        var entry = (uint*)address;
        entry[0] = result;
        entry[1] = 0;
        entry[2] = queue.Head | ((uint)(queueId ?? queue.Id) << 16);
        // Release: pairs with the driver's volatile read of the phase.
        Volatile.Write(ref entry[3], id | ((uint)status << 17) | ((uint)(flipsPhase ? completion.Phase : completion.Phase ^ 1) << 16));
        if (++completion.Tail == completion.Size)
        {
            completion.Tail = 0;
            completion.Phase ^= 1;
        }

        completion.NeedsInterrupt = true;
    }

    private void Interrupt(CompletionQueue completion)
    {
        completion.NeedsInterrupt = false;
        if (completion.HasInterrupt && completion.Vector < Settings.Vectors)
        {
            Session!.Interrupts.Trigger(VfioUserIrqs.Msix, completion.Vector);
        }
    }

    // The line is high while a queue has entries that the driver has not taken (its head doorbell), unless it is masked (INTMS, INTMC).
    private void UpdateLine()
    {
        if (!Settings.HasLine || Session is null)
        {
            return;
        }

        var isHigh = false;
        foreach (var (id, completion) in _completions)
        {
            isHigh |= completion.HasInterrupt && Volatile.Read(ref *(uint*)(_doorbells.Address + (id * 8) + 4)) != (uint)completion.Tail;
        }

        SetLine(isHigh && (_lineMask & 1) == 0);
    }

    private sealed class CompletionQueue(ulong iova, int size, int vector, bool hasInterrupt)
    {
        public ulong Base { get; } = iova;

        public int Size { get; } = size;

        public int Vector { get; } = vector;

        public bool HasInterrupt { get; } = hasInterrupt;

        public int Tail { get; set; }

        public int Phase { get; set; } = 1;

        public bool NeedsInterrupt { get; set; }
    }

    private sealed class SubmissionQueue(int id, ulong iova, int size, CompletionQueue completion)
    {
        public int Id { get; } = id;

        public ulong Base { get; } = iova;

        public int Size { get; } = size;

        public CompletionQueue Completion { get; } = completion;

        public uint Head { get; set; }

        public bool IsDeleted { get; set; }
    }
}
