using Polly;
using Polly.Retry;
using Vhost.BlockController;

namespace Vhost.Plugins.Nvme.Controller;

/// <summary>How a controller that is late, or that vanished, is looked for: with growing pauses until the time is over.</summary>
internal static class NvmeAttachPolicy
{
    /// <summary>An <see cref="AttachPolicy"/>.</summary>
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
