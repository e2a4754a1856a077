using System.Text;

namespace Vhost.Host.Cli;

/// <summary>Tables of <see cref="TopCommand"/>: the first row has the heads.</summary>
internal static class TopTable
{
    private const int Gap = 2;

    /// <summary>Which columns a table has to do without to be narrow enough.</summary>
    /// <param name="rows">The table.</param>
    /// <param name="columns">How wide it may be.</param>
    /// <param name="order">Heads of columns that may go, the first one first; those without any value go before the others.</param>
    internal static IReadOnlyList<string> HeadsToHide(string[][] rows, int columns, IEnumerable<string> order)
    {
        int[] widths = Widths(rows);
        int width = widths.Sum() + (Gap * (widths.Length - 1));
        var hidden = new List<string>();
        foreach (int column in order.Select(head => Array.IndexOf(rows[0], head)).Where(column => column >= 0).OrderBy(column => rows.Skip(1).All(row => row[column] == "-") ? 0 : 1))
        {
            if (width <= columns)
            {
                break;
            }

            hidden.Add(rows[0][column]);
            width -= widths[column] + Gap;
        }

        return hidden;
    }

    /// <summary>Draws a table without some columns.</summary>
    /// <param name="text">Where it is put.</param>
    /// <param name="rows">The table.</param>
    /// <param name="hidden">Heads of the columns to leave out.</param>
    internal static void Append(StringBuilder text, string[][] rows, IReadOnlyCollection<string> hidden)
    {
        int[] widths = Widths(rows);
        int[] shown = [.. Enumerable.Range(0, widths.Length).Where(column => !hidden.Contains(rows[0][column]))];
        foreach (string[] row in rows)
        {
            text.Append(string.Join(new string(' ', Gap), shown.Select(column => column == 0 ? row[0].PadRight(widths[0]) : row[column].PadLeft(widths[column]))).TrimEnd()).Append('\n');
        }
    }

    private static int[] Widths(string[][] rows) => [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
}
