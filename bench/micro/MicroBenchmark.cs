namespace Vhost.Bench.Micro;

/// <summary>
/// Benchmarks that say what they have to give, so that a test finds those that measure nothing any more. Each method takes
/// <see cref="OperationCount"/> operations and gives <see cref="Expected"/>; none allocates after the set-up.
/// </summary>
public abstract class MicroBenchmark
{
    /// <summary>Operations in one call of a method.</summary>
    public const int OperationCount = 32;

    /// <summary>What each method gives.</summary>
    public abstract long Expected { get; }

    /// <summary>Makes the inputs small enough for a test, before the set-up.</summary>
    public virtual void UseTinyInputs()
    {
    }
}
