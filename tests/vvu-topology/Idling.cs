namespace Vhost.VvuTopology.Tests;

/// <summary>What vhostd does while nobody asks it for anything.</summary>
/// <param name="Cpu">Its CPU time as a part of the time.</param>
/// <param name="Asleep">How much of the time its reactor sleeps.</param>
/// <param name="PollsPerSecond">How often the reactor looks at a queue.</param>
internal sealed record Idling(double Cpu, double Asleep, double PollsPerSecond)
{
    /// <inheritdoc/>
    public override string ToString() => FormattableString.Invariant($"{Cpu * 100:F1} % of an emulated CPU, the reactor asleep for {Asleep * 100:F0} %, {PollsPerSecond:F0} polls/s");
}
