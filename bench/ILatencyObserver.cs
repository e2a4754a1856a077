namespace Vhost.Bench;

/// <summary>Looks on at a load, to tell where its latency comes from. Called by the load's thread.</summary>
internal interface ILatencyObserver
{
    /// <summary>The warm-up is over.</summary>
    void OnMeasuring();

    /// <summary>Some requests were done.</summary>
    /// <param name="now">When their results were seen, in ticks of <see cref="System.Diagnostics.Stopwatch"/>.</param>
    /// <param name="slowest">How long the slowest of them took, in those ticks.</param>
    void OnCompleted(long now, long slowest);
}
