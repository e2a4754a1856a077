using Microsoft.Extensions.Logging;
using Vhost.Host.Observability;

namespace Vhost.Host.Wiring;

/// <summary>Calls into plugins on control threads: a call that throws is named, one that hangs is left behind and named.</summary>
internal static class BoundedCall
{
    /// <summary>Runs a call off the caller's thread.</summary>
    /// <param name="what">Names the call: <c>transport 'guest' (vhost-user): stop</c>.</param>
    /// <param name="limit">When its token is cancelled.</param>
    /// <param name="grace">How long it may take after that.</param>
    /// <param name="call">The call.</param>
    /// <param name="cancellationToken">Cancels the call's token earlier.</param>
    /// <exception cref="TimeoutException">It did not return; it may still run.</exception>
    internal static async Task RunAsync(string what, TimeSpan limit, TimeSpan grace, Func<CancellationToken, ValueTask> call, CancellationToken cancellationToken = default)
    {
        // Not disposed where the call is left behind: it may still look at its token.
        var cancellation = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        // A thread of its own: calls that hang must not starve the pool.
        var task = Task.Factory.StartNew(
            () => call(cancellation.Token).AsTask(),
            CancellationToken.None,
            TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach,
            TaskScheduler.Default).Unwrap();
        if (!await IsDoneWithinAsync(task, limit, cancellationToken).ConfigureAwait(false))
        {
            await CancelAsync(cancellation).ConfigureAwait(false);
            if (!await IsDoneWithinAsync(task, grace, CancellationToken.None).ConfigureAwait(false))
            {
                // Its exception, should it come, was foretold here.
                _ = task.ContinueWith(static late => late.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
                throw new TimeoutException($"{what} did not return within {(limit + grace).TotalSeconds:0.0} s");
            }
        }

        cancellation.Dispose();
        await task.ConfigureAwait(false);
    }

    /// <summary>As <see cref="RunAsync"/>, for steps of a stop: whatever goes wrong is logged and the stop goes on.</summary>
    /// <returns>Whether it went well.</returns>
    internal static async Task<bool> TryAsync(ILogger logger, string what, TimeSpan limit, TimeSpan grace, Func<CancellationToken, ValueTask> call)
    {
        try
        {
            await RunAsync(what, limit, grace, call).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException exception)
        {
            logger.LogError(HostEvents.CallLeftBehind, "{Reason}; it is left behind", exception.Message);
        }
        catch (Exception exception)
        {
            logger.LogError(HostEvents.CallFailed, exception, "{What} failed", what);
        }

        return false;
    }

    private static async Task CancelAsync(CancellationTokenSource cancellation)
    {
        try
        {
            // Off this thread, and not awaited to its end: callbacks are the plugin's.
            await Task.WhenAny(cancellation.CancelAsync(), Task.Delay(50)).ConfigureAwait(false);
        }
        catch (AggregateException)
        {
            // A callback of the plugin failed; the call's own result says more.
        }
    }

    private static async Task<bool> IsDoneWithinAsync(Task task, TimeSpan limit, CancellationToken cancellationToken)
    {
        using var delay = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var first = await Task.WhenAny(task, Task.Delay(limit, delay.Token)).ConfigureAwait(false);
        await delay.CancelAsync().ConfigureAwait(false);
        return ReferenceEquals(first, task);
    }
}
