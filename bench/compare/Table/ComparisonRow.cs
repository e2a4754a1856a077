namespace Vhost.Bench;

/// <summary>What a goal bounds.</summary>
internal enum GoalKind
{
    /// <summary>There is no goal: the figure stands beside the others to explain them.</summary>
    None,

    /// <summary>The measured value, divided by the reference, is at least the limit.</summary>
    RatioAtLeast,

    /// <summary>The measured value is at most the limit.</summary>
    ValueAtMost,
}

/// <summary>A goal.</summary>
/// <param name="Kind">What it bounds.</param>
/// <param name="Limit">The bound.</param>
/// <param name="BoundsTail">Whether the 99.9th percentile has to be no greater than the reference's as well.</param>
internal readonly record struct Goal(GoalKind Kind, double Limit = 0, bool BoundsTail = false);

/// <summary>One line of the table.</summary>
internal sealed record ComparisonRow
{
    /// <summary>The case.</summary>
    public required string Name { get; init; }

    /// <summary>The unit of <see cref="Value"/> and <see cref="Reference"/>.</summary>
    public required string Unit { get; init; }

    /// <summary>What vhostd reached.</summary>
    public required double Value { get; init; }

    /// <summary>What it is compared with, or null.</summary>
    public double? Reference { get; init; }

    /// <summary>What that is.</summary>
    public string ReferenceName { get; init; } = "";

    /// <summary>99.9th percentile of the latency.</summary>
    public double? TailMicroseconds { get; init; }

    /// <summary>The reference's.</summary>
    public double? ReferenceTailMicroseconds { get; init; }

    /// <summary>The goal.</summary>
    public Goal Goal { get; init; }

    /// <summary>How many runs were counted, and how the CPUs lay.</summary>
    public string Runs { get; init; } = "";

    /// <summary>Median of the ratios of runs that were made beside each other, where that is what counts; otherwise null.</summary>
    public double? PairedRatio { get; init; }

    /// <summary>The value divided by the reference.</summary>
    public double? Ratio => PairedRatio ?? (Reference is > 0 ? Value / Reference : null);

    /// <summary>Whether the goal is met; null where there is none.</summary>
    public bool? IsMet => Goal.Kind switch
    {
        GoalKind.RatioAtLeast => Ratio >= Goal.Limit && IsTailMet,
        GoalKind.ValueAtMost => Value <= Goal.Limit,
        _ => null,
    };

    /// <summary>How far the value is beyond the goal: 1 meets it exactly, more is better. Null where there is none.</summary>
    public double? Reach => Goal.Kind switch
    {
        GoalKind.RatioAtLeast => Ratio / Goal.Limit,
        GoalKind.ValueAtMost => Value == 0 ? null : Goal.Limit / Value,
        _ => null,
    };

    /// <summary>The goal, for people.</summary>
    public string GoalText => Goal.Kind switch
    {
        GoalKind.RatioAtLeast => FormattableString.Invariant($"{Goal.Limit:0.##} x") + (Goal.BoundsTail ? ", p99.9" : ""),
        GoalKind.ValueAtMost => FormattableString.Invariant($"{Goal.Limit:0.##} {Unit}"),
        _ => "",
    };

    /// <summary>The verdict, for people.</summary>
    public string VerdictText => IsMet switch
    {
        null => "",
        true => "met",
        _ when Goal.Kind == GoalKind.RatioAtLeast && Ratio >= Goal.Limit => "p99.9 not met",
        _ => "not met",
    };

    private bool IsTailMet => !Goal.BoundsTail || TailMicroseconds is not { } ours || ReferenceTailMicroseconds is not { } theirs || ours <= theirs;
}
