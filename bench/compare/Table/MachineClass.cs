namespace Vhost.Bench;

/// <summary>How two CPUs share what lies between them. Results of different classes are not comparable.</summary>
internal enum MachineClass
{
    /// <summary>Hyperthreads of one core: they share its caches.</summary>
    OneCore,

    /// <summary>Two cores: a cache line travels between them.</summary>
    TwoCores,
}

/// <summary>Tells the classes apart.</summary>
internal static class MachineClasses
{
    // Measured: 64 to 110 ns within a core, 220 to 420 ns between cores.
    private const double LimitNanoseconds = 150;

    /// <summary>The class of a cache line's round trip.</summary>
    /// <param name="roundTripNanoseconds">The round trip.</param>
    public static MachineClass Of(double roundTripNanoseconds) => roundTripNanoseconds < LimitNanoseconds ? MachineClass.OneCore : MachineClass.TwoCores;

    /// <summary>A class, for people.</summary>
    /// <param name="machineClass">The class; null where runs of both had to be taken together.</param>
    public static string Describe(MachineClass? machineClass) => machineClass switch
    {
        MachineClass.OneCore => "one core",
        MachineClass.TwoCores => "two cores",
        _ => "mixed",
    };
}
