namespace Vhost.BlockController;

/// <summary>
/// How a driver goes on looking for a controller that is late, or that vanished. The driver decides and hands it in: this library knows no
/// library for that.
/// </summary>
/// <param name="attempt">One attempt; it throws where it fails. <see cref="ControllerFailure.IsWorthAnotherAttempt"/> tells whether to go on.</param>
/// <param name="report">Called before each pause.</param>
/// <param name="cancellationToken">Ends it, with an <see cref="OperationCanceledException"/>: the time is over, or the driver stops.</param>
public delegate void AttachPolicy(Action<CancellationToken> attempt, Action<AttachRetry> report, CancellationToken cancellationToken);

/// <summary>An attempt that failed and will be repeated.</summary>
/// <param name="Failure">Why it failed.</param>
/// <param name="AttemptNumber">Which one it was, from 1.</param>
/// <param name="Delay">The pause before the next one.</param>
public readonly record struct AttachRetry(Exception? Failure, int AttemptNumber, TimeSpan Delay);
