using Polly;
using Polly.Retry;

namespace Vhost.BlockController;

/// <summary>How a controller that is late, or that vanished, is looked for: with growing pauses, as long as it may take.</summary>
internal static class AttachPolicy
{
    /// <summary>Attempts until one succeeds, or fails in a way that no other attempt changes; see <see cref="ControllerFailure.IsWorthAnotherAttempt"/>.</summary>
    /// <param name="attempt">One attempt; it throws where it fails.</param>
    /// <param name="report">Called before each pause.</param>
    /// <param name="cancellationToken">Ends it, with an <see cref="OperationCanceledException"/>: the time is over, or the driver stops.</param>
    public static void Run(Action<CancellationToken> attempt, Action<AttachRetry> report, CancellationToken cancellationToken) =>
        new ResiliencePipelineBuilder()
            .AddRetry(new RetryStrategyOptions
            {
                ShouldHandle = new PredicateBuilder().Handle<Exception>(ControllerFailure.IsWorthAnotherAttempt),
                MaxRetryAttempts = int.MaxValue,
                BackoffType = DelayBackoffType.Exponential,
                Delay = TimeSpan.FromMilliseconds(250),
                MaxDelay = TimeSpan.FromSeconds(5),
                OnRetry = retry =>
                {
                    report(new AttachRetry(retry.Outcome.Exception, retry.AttemptNumber + 1, retry.RetryDelay));
                    return default;
                },
            })
            .Build()
            .Execute(attempt, cancellationToken);
}

/// <summary>An attempt that failed and will be repeated.</summary>
/// <param name="Failure">Why it failed.</param>
/// <param name="AttemptNumber">Which one it was, from 1.</param>
/// <param name="Delay">The pause before the next one.</param>
internal readonly record struct AttachRetry(Exception? Failure, int AttemptNumber, TimeSpan Delay);
