namespace Vhost.Testing;

/// <summary>Counts what code allocates.</summary>
public static class Allocations
{
    private const int Rounds = 5;

    /// <summary>
    /// What a round allocates at least, on the calling thread. What requests cost shows in every round; what the runtime allocates once for its own sake, as it compiles
    /// code anew, in one. Rounds end at the first without.
    /// </summary>
    /// <param name="round">The round; run before, until all that happens once has happened.</param>
    /// <returns>Bytes.</returns>
    public static long LeastOfRounds(Action round)
    {
        ArgumentNullException.ThrowIfNull(round);
        var least = long.MaxValue;
        for (var i = 0; i < Rounds && least != 0; i++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            round();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
