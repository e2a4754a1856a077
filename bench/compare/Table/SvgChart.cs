using System.Globalization;
using System.Net;
using System.Text;

namespace Vhost.Bench;

/// <summary>A picture of the table: a bar for each goal, as long as it is reached, and a line where it is met.</summary>
internal static class SvgChart
{
    private const int LabelWidth = 470;
    private const int BarsWidth = 360;
    private const int ValueWidth = 170;
    private const int RowHeight = 20;
    private const int Top = 44;
    private const double MostReach = 3;

    /// <summary>Draws it.</summary>
    /// <param name="rows">The rows; those without a goal are left out.</param>
    /// <param name="title">What it shows.</param>
    public static string Draw(IReadOnlyList<ComparisonRow> rows, string title)
    {
        var judged = rows.Where(row => row.IsMet is not null).ToArray();
        var width = LabelWidth + BarsWidth + ValueWidth;
        var height = Top + (judged.Length * RowHeight) + 12;
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">""");
        text.AppendLine("""<rect width="100%" height="100%" fill="white"/>""");
        text.AppendLine(CultureInfo.InvariantCulture, $"""<text x="8" y="20" font-size="15" font-weight="bold">{WebUtility.HtmlEncode(title)}</text>""");
        for (var i = 0; i < judged.Length; i++)
        {
            var row = judged[i];
            var y = Top + (i * RowHeight);
            // A value of 0 where less is better has no bound: the longest bar.
            var reach = Math.Clamp(row.Reach ?? MostReach, 0, MostReach);
            var value = string.Create(CultureInfo.InvariantCulture, $"{(row.Ratio is { } ratio && row.Goal.Kind == GoalKind.RatioAtLeast ? $"{ratio:0.00} x" : $"{row.Value:0.##} {row.Unit}")} (goal {row.GoalText})");
            text.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{LabelWidth - 8}" y="{y + 14}" text-anchor="end">{WebUtility.HtmlEncode(row.Name)}</text>""");
            text.AppendLine(CultureInfo.InvariantCulture, $"""<rect x="{LabelWidth}" y="{y + 3}" width="{BarsWidth * reach / MostReach:0.0}" height="{RowHeight - 6}" fill="{(row.IsMet == true ? "#3a7d44" : "#b5482a")}"/>""");
            text.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{LabelWidth + (BarsWidth * reach / MostReach) + 6:0.0}" y="{y + 14}">{WebUtility.HtmlEncode(value)}</text>""");
        }

        var goal = LabelWidth + (BarsWidth / MostReach);
        text.AppendLine(CultureInfo.InvariantCulture, $"""<line x1="{goal:0.0}" y1="{Top - 6}" x2="{goal:0.0}" y2="{height - 8}" stroke="black" stroke-dasharray="4 3"/>""");
        text.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{goal:0.0}" y="{Top - 10}" text-anchor="middle">goal</text>""");
        text.AppendLine("</svg>");
        return text.ToString();
    }
}
