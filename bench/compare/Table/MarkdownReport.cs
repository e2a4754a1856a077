using System.Globalization;
using System.Text;

namespace Vhost.Bench;

/// <summary>The table as Markdown, line by line or whole.</summary>
internal static class MarkdownReport
{
    /// <summary>The head of the table.</summary>
    public const string Head =
        "| case | vhostd | compared with | ratio | goal | verdict | p99.9, us | its p99.9 | runs counted |\n|---|---|---|---|---|---|---|---|---|";

    /// <summary>One line of the table.</summary>
    /// <param name="row">The row.</param>
    public static string Line(ComparisonRow row) => string.Create(
        CultureInfo.InvariantCulture,
        $"| {row.Name} | {Figure(row.Value)} {row.Unit} | {(row.Reference is { } reference ? $"{Figure(reference)} ({row.ReferenceName})" : "")} | {(row.Ratio is { } ratio ? $"{ratio:0.00}" : "")} | {row.GoalText} | {row.VerdictText} | {Tail(row.TailMicroseconds)} | {Tail(row.ReferenceTailMicroseconds)} | {row.Runs} |");

    /// <summary>A section: what was run where and when, and the table.</summary>
    /// <param name="rows">The rows.</param>
    /// <param name="command">The command that made them.</param>
    /// <param name="machine">The machine.</param>
    /// <param name="roundTripsNanoseconds">Round trips of a cache line that were met.</param>
    public static string Section(IReadOnlyList<ComparisonRow> rows, string command, string machine, IReadOnlyList<double> roundTripsNanoseconds)
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"`{command}`, {DateTime.UtcNow:d MMMM yyyy}, {machine}. {DescribeMachine(roundTripsNanoseconds)}");
        text.AppendLine();
        text.AppendLine(Head);
        foreach (var row in rows)
        {
            text.AppendLine(Line(row));
        }

        var judged = rows.Count(row => row.IsMet is not null);
        text.AppendLine();
        text.AppendLine(CultureInfo.InvariantCulture, $"{rows.Count(row => row.IsMet == true)} of {judged} goals met.");
        return text.ToString();
    }

    /// <summary>How the CPUs lay, for people.</summary>
    /// <param name="roundTripsNanoseconds">Round trips of a cache line that were met.</param>
    public static string DescribeMachine(IReadOnlyList<double> roundTripsNanoseconds)
    {
        if (roundTripsNanoseconds.Count == 0)
        {
            return "";
        }

        var parts = roundTripsNanoseconds.GroupBy(MachineClasses.Of).OrderByDescending(group => group.Count()).Select(group => string.Create(
            CultureInfo.InvariantCulture,
            $"{MachineClasses.Describe(group.Key)} in {100.0 * group.Count() / roundTripsNanoseconds.Count:0} % of the looks (a cache line there and back: {SampleSet.Median([.. group]):0} ns)"));
        return $"The CPUs were {string.Join(", ", parts)}.";
    }

    private static string Figure(double value) => value.ToString(Math.Abs(value) < 10 ? "0.00" : Math.Abs(value) < 100 ? "0.0" : "0", CultureInfo.InvariantCulture);

    private static string Tail(double? value) => value is { } tail ? Figure(tail) : "";
}
