namespace Vhost.Host.Manifest;

/// <summary>What a reactor does when it has no work.</summary>
public enum ReactorMode
{
    /// <summary>Spins for a little, then enables notifications and sleeps.</summary>
    Adaptive,

    /// <summary>Spins for ever: lowest latency, a whole CPU.</summary>
    Poll,

    /// <summary>Sleeps at once.</summary>
    Interrupt,
}
