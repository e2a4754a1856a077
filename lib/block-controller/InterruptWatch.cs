using System.Diagnostics;

namespace Vhost.BlockController;

/// <summary>
/// Judges interrupts: a line that the controller never takes down, or a vector that fires without end, must not take a CPU. What came with an interrupt is
/// all that counts, so a controller that has much to tell is never held back. One thread.
/// </summary>
internal sealed class InterruptWatch
{
    /// <summary>
    /// Interrupts in a row without an answer that are served at once: some come late, after their answer was taken by polling, and several before a reactor
    /// has taken the first answer.
    /// </summary>
    public const int AtOnce = 16;

    /// <summary>Interrupts in a row without an answer, with everybody having looked in between, after which interrupts are given up.</summary>
    public const int Most = 256;

    // What comes this late is no part of the row: an interrupt of nobody's now and then is harmless.
    private static readonly long RowTicks = Stopwatch.Frequency;
    private long _answerCount = -1;
    private long _lastTimestamp;
    private int _rowCount;

    /// <summary>What to do about an interrupt.</summary>
    public enum Verdict
    {
        /// <summary>Serve it.</summary>
        Serve,

        /// <summary>Serve it after a short pause.</summary>
        Pause,

        /// <summary>Interrupts mean nothing: poll instead.</summary>
        GiveUp,
    }

    /// <summary>Interrupts in a row that nothing came with although everybody had looked.</summary>
    public int IdleCount { get; private set; }

    /// <summary>An interrupt came.</summary>
    /// <param name="timestamp">When, as a <see cref="Stopwatch"/> timestamp.</param>
    /// <param name="answerCount">Answers that were taken from the controller so far, by all whom the interrupt may concern.</param>
    /// <param name="hasEverybodyLooked">Whether all of them have looked since the interrupt before.</param>
    public Verdict Take(long timestamp, long answerCount, bool hasEverybodyLooked)
    {
        var isOfTheRow = answerCount == _answerCount && timestamp - _lastTimestamp < RowTicks;
        _answerCount = answerCount;
        _lastTimestamp = timestamp;
        if (!isOfTheRow)
        {
            _rowCount = IdleCount = 0;
            return Verdict.Serve;
        }

        // While a reactor has not looked, what it will find may be the cause, however often the interrupt comes: pauses, but no verdict.
        _rowCount = Math.Min(_rowCount + 1, Most);
        if (hasEverybodyLooked)
        {
            IdleCount++;
        }

        return IdleCount >= Most ? Verdict.GiveUp : _rowCount > AtOnce ? Verdict.Pause : Verdict.Serve;
    }

    /// <summary>The controller begins anew.</summary>
    public void Reset()
    {
        _answerCount = -1;
        _rowCount = IdleCount = 0;
    }
}
