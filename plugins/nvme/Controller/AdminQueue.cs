using System.Diagnostics;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;
using Vhost.Plugins.Nvme.Queues;

namespace Vhost.Plugins.Nvme.Controller;

/// <summary>
/// The admin queue pair: one command at a time, waited for on the controller's thread, and async event requests beside it.
/// </summary>
internal sealed unsafe class AdminQueue : IDisposable
{
    private const int Entries = 32;
    private const ushort CommandSlot = 0;
    private const ushort FirstEventSlot = 1;
    private const int MaxEventSlots = 4;
    private const int BufferBytes = 4096;
    private readonly string _address;
    private readonly NvmeRing _ring;
    private readonly DmaMemory _buffer;
    private readonly TimeSpan _timeout;
    private readonly Func<TimeSpan, bool> _waitForInterrupt;
    private readonly bool[] _eventOutstanding = new bool[MaxEventSlots];
    private readonly Queue<uint> _events = new();

    /// <summary>Allocates the queue; the caller tells the controller of it.</summary>
    /// <param name="device">The device.</param>
    /// <param name="bar">BAR 0.</param>
    /// <param name="capabilities">CAP.</param>
    /// <param name="timeout">How long a command may take.</param>
    /// <param name="waitForInterrupt">Sleeps until the admin interrupt or for the time given; false if the device is gone.</param>
    public AdminQueue(IPciDevice device, PciBar bar, NvmeCapabilities capabilities, TimeSpan timeout, Func<TimeSpan, bool> waitForInterrupt)
    {
        _address = device.Address;
        _timeout = timeout;
        _waitForInterrupt = waitForInterrupt;
        _ring = new NvmeRing(device, bar, 0, Entries, capabilities.DoorbellStrideBytes);
        try
        {
            _buffer = device.Dma.Allocate(BufferBytes, isContiguous: true);
        }
        catch
        {
            _ring.Dispose();
            throw;
        }
    }

    public ulong SubmissionIova => _ring.SubmissionIova;

    public ulong CompletionIova => _ring.CompletionIova;

    /// <summary>AQA: both queues' sizes, 0-based.</summary>
    public static uint Attributes => ((Entries - 1) << 16) | (Entries - 1);

    /// <summary>Completions that were taken.</summary>
    public long AnswerCount { get; private set; }

    /// <summary>The 4096 bytes that a command with data read or wrote.</summary>
    public Span<byte> Buffer => new((void*)_buffer.Address, BufferBytes);

    /// <summary>Issues a command and waits for its completion.</summary>
    /// <param name="command">The command; its id is set here.</param>
    /// <param name="name">For messages.</param>
    /// <param name="usesBuffer">Whether its data is <see cref="Buffer"/>.</param>
    /// <exception cref="ControllerFailure">No answer in time, or the device is gone.</exception>
    public NvmeCompletion Execute(NvmeCommand command, string name, bool usesBuffer = false)
    {
        command.CommandId = CommandSlot;
        command.Data1 = usesBuffer ? _buffer.Iova : command.Data1;
        _ring.Push(in command);
        _ring.AnnounceSubmissions();
        var start = Stopwatch.GetTimestamp();
        while (true)
        {
            if (Reap() is { } answer)
            {
                return answer;
            }

            var left = _timeout - Stopwatch.GetElapsedTime(start);
            if (left <= TimeSpan.Zero)
            {
                throw new ControllerFailure($"{_address}: the admin command {name} was not answered within {_timeout.TotalSeconds:0.#} s");
            }

            if (!_waitForInterrupt(left))
            {
                throw new ControllerFailure($"{_address}: the device vanished during the admin command {name}");
            }
        }
    }

    /// <summary>As <see cref="Execute"/>, and an error status is a failure.</summary>
    public NvmeCompletion ExecuteChecked(NvmeCommand command, string name, bool usesBuffer = false)
    {
        var completion = Execute(command, name, usesBuffer);
        return completion.Status == 0 ? completion : throw new ControllerFailure($"{_address}: the admin command {name} failed: {completion.Describe()}");
    }

    /// <summary>Keeps async event requests outstanding, as many as the controller takes and we have use for.</summary>
    public void RequestEvents(int controllerLimit)
    {
        for (var i = 0; i < Math.Min(MaxEventSlots, controllerLimit); i++)
        {
            if (!_eventOutstanding[i])
            {
                _eventOutstanding[i] = true;
                _ring.Push(new NvmeCommand { Opcode = NvmeOpcode.AsyncEventRequest, CommandId = (ushort)(FirstEventSlot + i) });
            }
        }

        _ring.AnnounceSubmissions();
    }

    /// <summary>Takes the next event (dword 0 of its completion).</summary>
    public bool TryTakeEvent(out uint value)
    {
        if (Reap() is not null)
        {
            throw new ControllerFailure($"{_address}: the admin queue completed a command that was not outstanding");
        }

        return _events.TryDequeue(out value);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ring.Dispose();
        _buffer.Dispose();
    }

    // Takes completions until the command's own, or until there are none. Bounded: a controller that floods is refused.
    private NvmeCompletion? Reap()
    {
        NvmeCompletion? answer = null;
        var budget = 2 * Entries;
        while (answer is null && _ring.TryPop(out var completion))
        {
            if (budget-- == 0)
            {
                throw new ControllerFailure($"{_address}: the admin queue is flooded with completions");
            }

            AnswerCount++;
            int eventSlot = completion.CommandId - FirstEventSlot;
            if (completion.CommandId == CommandSlot)
            {
                answer = completion;
            }
            else if ((uint)eventSlot < MaxEventSlots && _eventOutstanding[eventSlot])
            {
                _eventOutstanding[eventSlot] = false;
                if (completion.Status == 0)
                {
                    _events.Enqueue(completion.Dword0);
                }
            }
            else
            {
                throw new ControllerFailure($"{_address}: the admin queue completed command id {completion.CommandId}, which is not outstanding");
            }
        }

        _ring.AnnounceCompletions();
        return answer;
    }
}
