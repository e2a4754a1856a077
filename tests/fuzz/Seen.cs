namespace Vhost.Fuzz.Tests;

/// <summary>Gathers what a run of a target showed, so that runs that showed the same have the same <see cref="Value"/>.</summary>
internal sealed class Seen
{
    /// <summary>What was seen.</summary>
    public ulong Value { get; private set; } = 14695981039346656037;

    /// <summary>Something was seen; numbers count by their order of magnitude.</summary>
    public void Add(string what, long count = 1)
    {
        foreach (var character in what)
        {
            // What tells two reasons apart is their words, not the numbers in them.
            if (!char.IsDigit(character))
            {
                Mix(character);
            }
        }

        Mix((uint)(64 - System.Numerics.BitOperations.LeadingZeroCount((ulong)count)));
    }

    private void Mix(uint part) => Value = (Value ^ part) * 1099511628211;
}
