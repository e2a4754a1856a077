namespace Vhost.Bench;

/// <summary>One run.</summary>
/// <param name="Value">What was measured.</param>
/// <param name="TailMicroseconds">The 99.9th percentile of the latency, or null.</param>
/// <param name="Class">How the CPUs lay before and after it; null if that changed meanwhile.</param>
internal readonly record struct Sample(double Value, double? TailMicroseconds, MachineClass? Class);

/// <summary>Runs of one thing.</summary>
internal sealed class SampleSet
{
    private readonly List<Sample> _samples = [];

    /// <summary>Adds a run.</summary>
    /// <param name="sample">The run.</param>
    public void Add(Sample sample) => _samples.Add(sample);

    /// <summary>How many runs are of a class.</summary>
    /// <param name="machineClass">The class; null for all runs.</param>
    public int Count(MachineClass? machineClass) => Of(machineClass).Count();

    /// <summary>Median of what was measured.</summary>
    /// <param name="machineClass">The class; null for all runs.</param>
    public double Median(MachineClass? machineClass) => Median([.. Of(machineClass).Select(sample => sample.Value)]);

    /// <summary>Median of the tails, or null where there are none.</summary>
    /// <param name="machineClass">The class; null for all runs.</param>
    public double? MedianTail(MachineClass? machineClass)
    {
        double[] tails = [.. Of(machineClass).Select(sample => sample.TailMicroseconds).OfType<double>()];
        return tails.Length == 0 ? null : Median(tails);
    }

    /// <summary>Median of some numbers.</summary>
    /// <param name="values">At least one.</param>
    public static double Median(double[] values)
    {
        Array.Sort(values);
        return values.Length % 2 == 1 ? values[values.Length / 2] : (values[(values.Length / 2) - 1] + values[values.Length / 2]) / 2;
    }

    private IEnumerable<Sample> Of(MachineClass? machineClass) => machineClass is null ? _samples : _samples.Where(sample => sample.Class == machineClass);
}
