namespace Vhost.Bench;

/// <summary>Runs things on threads of their own, which may be pinned without a trace.</summary>
internal static class OwnThread
{
    /// <summary>Starts something.</summary>
    /// <param name="work">What to run.</param>
    /// <returns>Its result, or its failure.</returns>
    public static Task<T> Start<T>(Func<T> work) => Task.Factory.StartNew(work, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>Runs something and waits for it.</summary>
    /// <param name="work">What to run.</param>
    public static T Run<T>(Func<T> work) => Start(work).GetAwaiter().GetResult();
}
