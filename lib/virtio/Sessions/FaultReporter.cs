using Microsoft.Extensions.Logging;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>
/// Carries faults from reactors to the log and the front-end, on a thread of the pool. A guest that sends nothing but invalid requests gets
/// one line a second.
/// </summary>
internal sealed partial class FaultReporter(IFrontEnd frontEnd, ILogger logger)
{
    private const long LogIntervalMs = 1000;

    private long _nextLogMs;
    private long _suppressedCount;

    /// <summary>Reports a fault. Any thread; does not block.</summary>
    /// <param name="queue">Where.</param>
    /// <param name="reason">What.</param>
    /// <param name="isBroken">Whether the queue is broken by it; else one request was.</param>
    public void Report(Virtqueue queue, string reason, bool isBroken)
    {
        if (!isBroken)
        {
            var now = Environment.TickCount64;
            var next = Volatile.Read(ref _nextLogMs);
            if (now < next || Interlocked.CompareExchange(ref _nextLogMs, now + LogIntervalMs, next) != next)
            {
                Interlocked.Increment(ref _suppressedCount);
                return;
            }
        }

        var suppressed = Interlocked.Exchange(ref _suppressedCount, 0);
        ThreadPool.UnsafeQueueUserWorkItem(
            static fault =>
            {
                if (fault.IsBroken)
                {
                    fault.Reporter.Notify(fault.Queue, fault.Reason);
                }
                else
                {
                    LogInvalidRequest(fault.Reporter.Logger, fault.Queue.Name, fault.Reason, fault.Suppressed);
                }
            },
            (Reporter: this, Queue: queue, Reason: reason, IsBroken: isBroken, Suppressed: suppressed),
            preferLocal: false);
    }

    private ILogger Logger => logger;

    private void Notify(Virtqueue queue, string reason)
    {
        try
        {
            frontEnd.OnQueueBroken(queue.Index, reason);
        }
        catch (Exception exception)
        {
            LogFrontEndNotTold(logger, exception, queue.Name, reason);
        }
    }

    [LoggerMessage(EventId = 1100, Level = LogLevel.Warning, Message = "{Queue}: an invalid request was answered with an error: {Reason} ({Suppressed} more since the last such message)")]
    private static partial void LogInvalidRequest(ILogger logger, string queue, string reason, long suppressed);

    [LoggerMessage(EventId = 1101, Level = LogLevel.Error, Message = "{Queue}: broken ({Reason}), and the front-end could not be told")]
    private static partial void LogFrontEndNotTold(ILogger logger, Exception exception, string queue, string reason);
}
