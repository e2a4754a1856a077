using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vhost.Linux;
using Vhost.Pci;

namespace Vhost.BlockController;

/// <summary>
/// How the thread sleeps and is woken. Vector 0 is the thread's; each reactor has one of its own, or, where the device has too few, gets vector 0 passed
/// on; without any interrupt all poll.
/// </summary>
public abstract partial class ControllerThread
{
    private static readonly TimeSpan PolledInterval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan StatusInterval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan PolledAnswerInterval = TimeSpan.FromMilliseconds(2);
    private static readonly TimeSpan InterruptPause = TimeSpan.FromMilliseconds(1);
    private readonly InterruptWatch _watch = new();
    private IReadOnlyList<int> _vectors = [];
    private EventFd[]? _forwarded;
    private long[] _seenPollCounts = [];
    private (string Name, TimeSpan DeadlineInterval)[] _pollers = [];

    /// <summary>How many vectors the device was given: one more than there are queues, 1, or 0.</summary>
    protected int VectorCount => _vectors.Count;

    /// <summary>Whether vector 0 is a level-triggered line.</summary>
    protected bool IsLineShared => VectorCount == 1 && Device is { IsLevelTriggered: true };

    /// <summary>Answers that the thread itself took from the controller: of the queue that vector 0 stands for.</summary>
    protected abstract long OwnAnswerCount { get; }

    private string InterruptsInWords => VectorCount > 1 ? "MSI-X" : VectorCount == 1 ? "one interrupt line" : "no interrupts: polled with back-off";

    /// <summary>Takes a level-triggered line down, at the controller.</summary>
    protected virtual void SilenceInterrupt()
    {
    }

    /// <summary>Lets the controller raise a level-triggered line again.</summary>
    protected virtual void OpenInterrupt()
    {
    }

    /// <summary>Starts a queue of a controller that is up.</summary>
    /// <param name="index">Which.</param>
    /// <param name="name">The poller's name.</param>
    /// <param name="deadlineInterval">How often to look at its deadlines.</param>
    /// <param name="start">Opens the queue, on its reactor.</param>
    protected void StartQueue(int index, string name, TimeSpan deadlineInterval, Action<CommandQueue> start)
    {
        _pollers[index] = (name, deadlineInterval);
        OnReactor(index, queue =>
        {
            queue.Register(name, WakeDescriptor(index), deadlineInterval);
            start(queue);
        });
    }

    /// <summary>
    /// Sleeps until an interrupt, a message from a reactor, or the time to look after the controller has come; not at all where there is something to do. A
    /// wake-up that came during a command was taken by the wait for its answer: what it was about is still there.
    /// </summary>
    protected void WaitForWork() => Wait(HasRequests || ResetReason is not null ? TimeSpan.Zero : _vectors.Count == 0 ? PolledInterval : StatusInterval);

    /// <summary>Sleeps until something may have come that the thread waits for.</summary>
    /// <param name="limit">For this long at most.</param>
    /// <returns>False if the device is gone.</returns>
    protected bool WaitForAnswer(TimeSpan limit) => Wait(_vectors.Count == 0 && limit > PolledAnswerInterval ? PolledAnswerInterval : limit);

    private bool Wait(TimeSpan limit)
    {
        var descriptor = _vectors.Count == 0 ? -1 : _vectors[0];
        using (var epoll = Epoll.Create())
        {
            epoll.Add(_wake.Raw, EpollEvents.In, 0);
            if (descriptor >= 0)
            {
                epoll.Add(descriptor, EpollEvents.In, 1);
            }

            Span<EpollEvent> reports = stackalloc EpollEvent[2];
            epoll.Wait(reports, (int)Math.Ceiling(limit.TotalMilliseconds));
        }

        _wake.Drain();
        if (descriptor >= 0 && EventFd.DrainRaw(descriptor) != 0)
        {
            OnInterrupt();
        }

        if (IsLineShared)
        {
            OpenInterrupt();
        }

        return Device is not { Removed.IsCancellationRequested: true };
    }

    private void EnableInterrupts(IPciDevice device)
    {
        var wanted = Queues.Count + 1;
        var available = device.InterruptVectorCount;
        _vectors = available == 0 ? [] : device.EnableInterrupts(available >= wanted && !device.IsLevelTriggered ? wanted : 1);
        _forwarded = _vectors.Count == 1 ? [.. Queues.Select(_ => EventFd.Create())] : null;
        _seenPollCounts = new long[Queues.Count];
        _pollers = new (string, TimeSpan)[Queues.Count];
        _watch.Reset();
    }

    // The eventfd that a reactor sleeps on, or -1.
    private int WakeDescriptor(int queueIndex) => _vectors.Count == 0 ? -1 : _forwarded is null ? _vectors[queueIndex + 1] : _forwarded[queueIndex].Raw;

    private void OnInterrupt()
    {
        switch (_watch.Take(Stopwatch.GetTimestamp(), CountAnswers(), HasEverybodyLooked()))
        {
            case InterruptWatch.Verdict.Pause:
                // The line stays masked by the kernel meanwhile. What the device has to say is taken at the end of the pause.
                _stop.Token.WaitHandle.WaitOne(InterruptPause);
                break;
            case InterruptWatch.Verdict.GiveUp:
                GiveInterruptsUp();
                return;
            default:
                break;
        }

        // One line for all: silence it, wake every reactor, and let it come again when one of them sleeps. Also before there are queues: a line that the
        // kernel switched off at an interrupt stays off until it is switched on.
        if (Device!.IsLevelTriggered)
        {
            SilenceInterrupt();
            Device.UnmaskInterrupt();
        }

        foreach (var forwarded in _forwarded ?? [])
        {
            forwarded.Signal();
        }
    }

    // With a vector for each queue, vector 0 stands for the thread's own answers alone.
    private long CountAnswers()
    {
        var count = OwnAnswerCount;
        for (var i = 0; _forwarded is not null && i < Queues.Count; i++)
        {
            count += Queues[i].AnswerCount;
        }

        return count;
    }

    private bool HasEverybodyLooked()
    {
        var hasEverybody = true;
        for (var i = 0; _forwarded is not null && i < Queues.Count; i++)
        {
            var count = Queues[i].PollCount;
            hasEverybody &= count != _seenPollCounts[i] || !Queues[i].IsLookedAt;
            _seenPollCounts[i] = count;
        }

        return hasEverybody;
    }

    private void GiveInterruptsUp()
    {
        Log.LogError(
            BlockControllerEvents.InterruptsSwitchedOff, "{Address}: {Count} interrupts in a row that nothing came with: {Cause}. Its interrupts are switched off, and it is polled until it is attached "
            + "anew. Check the device, and what else is on its line",
            Address, _watch.IdleCount, Device!.IsLevelTriggered ? "the device does not take its interrupt line down" : "the device raises its interrupt without end");
        if (Device.IsLevelTriggered)
        {
            SilenceInterrupt();
        }

        // The reactors stop to sleep on what is closed next.
        _vectors = [];
        for (var i = 0; i < Queues.Count; i++)
        {
            var (name, interval) = _pollers[i];
            OnReactor(i, queue =>
            {
                if (queue.IsRegistered)
                {
                    queue.Register(name, -1, interval);
                }
            });
        }

        Device.EnableInterrupts(0);
        ForgetInterrupts();
    }

    private void ForgetInterrupts()
    {
        _vectors = [];
        foreach (var forwarded in _forwarded ?? [])
        {
            forwarded.Dispose();
        }

        _forwarded = null;
    }
}
