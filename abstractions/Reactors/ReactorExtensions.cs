namespace Vhost.Abstractions;

/// <summary>Waits for work that is done on a reactor.</summary>
public static class ReactorExtensions
{
    /// <summary>Runs an action on the reactor's thread and completes, off that thread, when it is done; an exception passes to the caller.</summary>
    /// <param name="reactor">The reactor.</param>
    /// <param name="action">Must not block.</param>
    public static Task InvokeAsync(this IReactor reactor, Action action)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        ArgumentNullException.ThrowIfNull(action);
        // Continuations must not run on the reactor's thread.
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        reactor.Post(
            static state =>
            {
                var (act, source) = ((Action, TaskCompletionSource))state!;
                try
                {
                    act();
                    source.SetResult();
                }
                catch (Exception exception)
                {
                    source.SetException(exception);
                }
            },
            (action, done));
        return done.Task;
    }

    /// <summary>Runs a function on the reactor's thread and completes with its result, off that thread.</summary>
    /// <typeparam name="T">The result.</typeparam>
    /// <param name="reactor">The reactor.</param>
    /// <param name="function">Must not block.</param>
    public static async Task<T> InvokeAsync<T>(this IReactor reactor, Func<T> function)
    {
        T result = default!;
        await reactor.InvokeAsync(() => { result = function(); }).ConfigureAwait(false);
        return result;
    }
}
