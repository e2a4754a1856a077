using System.Runtime.InteropServices;
using System.Text;

namespace Vhost.Host.Cli;

/// <summary>
/// The terminal of <see cref="TopCommand"/>: each view is drawn over the last one without clearing first, so that nothing flickers, and never wraps or scrolls; it is drawn
/// again when the window's size changes, and q ends it.
/// </summary>
internal sealed class TopScreen : IDisposable
{
    private const string Clear = "\e[H\e[2J";
    private const string Home = "\e[H";
    private const string ClearLineEnd = "\e[K";
    private const string ClearBelow = "\e[J";

    // .NET switches the cursor keys to their other codes when it reads keys, and does not switch them back.
    private const string NormalKeys = "\e[?1l\e>";

    private readonly Lock _lock = new();
    private readonly TextWriter _writer;
    private readonly PosixSignalRegistration _resized;
    private Func<int, string>? _draw;

    private TopScreen(TextWriter writer)
    {
        _writer = writer;
        _resized = PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => Redraw(isResized: true));
    }

    /// <summary>Takes the terminal; null if there is none that understands what is sent.</summary>
    /// <param name="writer">Standard output.</param>
    /// <param name="quit">Called at q. Any thread.</param>
    internal static TopScreen? TryOpen(TextWriter writer, Action quit)
    {
        if (Console.IsOutputRedirected || Environment.GetEnvironmentVariable("TERM") is null or "" or "dumb")
        {
            return null;
        }

        if (!Console.IsInputRedirected)
        {
            // Nothing ends a read of a key but a key: the thread ends with the process.
            new Thread(() => ReadKeys(quit)) { IsBackground = true, Name = "keys" }.Start();
        }

        return new TopScreen(writer);
    }

    /// <summary>Shows a view.</summary>
    /// <param name="draw">Draws it for a number of columns; called again when that changes.</param>
    internal void Show(Func<int, string> draw)
    {
        bool isFirst = _draw is null;
        _draw = draw;
        Redraw(isFirst);
    }

    /// <summary>Cuts a text to a window.</summary>
    /// <param name="text">Lines.</param>
    /// <param name="columns">The window's width.</param>
    /// <param name="rows">The window's height; the last row stays free for the cursor.</param>
    /// <returns>The lines that fit; a last one says how many do not.</returns>
    internal static IReadOnlyList<string> Fit(string text, int columns, int rows)
    {
        string[] lines = text.TrimEnd('\n').Split('\n');
        int room = Math.Max(rows - 1, 1);
        if (lines.Length > room)
        {
            lines = [.. lines.Take(room - 1), $"... {lines.Length - room + 1} more lines"];
        }

        return [.. lines.Select(line => line.Length <= columns ? line : columns > 1 ? string.Concat(line.AsSpan(0, columns - 1), ">") : line[..Math.Max(columns, 0)])];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _resized.Dispose();
        lock (_lock)
        {
            _writer.Write(NormalKeys);
            _writer.Flush();
        }
    }

    private static void ReadKeys(Action quit)
    {
        try
        {
            while (Console.ReadKey(intercept: true).KeyChar is not ('q' or 'Q'))
            {
            }

            quit();
        }
        catch (InvalidOperationException)
        {
            // The terminal went away, or was never one that has keys: Ctrl-C and -n are left. Or the command has just ended by itself.
        }
    }

    private void Redraw(bool isResized)
    {
        lock (_lock)
        {
            if (_draw is not { } draw)
            {
                return;
            }

            // A terminal that does not tell its size is taken for a usual one.
            (int columns, int rows) = (Console.WindowWidth, Console.WindowHeight) is ( > 0, > 0) and var size ? size : (80, 24);
            var frame = new StringBuilder(isResized ? Clear : Home);
            foreach (string line in Fit(draw(columns), columns, rows))
            {
                frame.Append(line).Append(ClearLineEnd).Append('\n');
            }

            _writer.Write(frame.Append(ClearBelow));
            _writer.Flush();
        }
    }
}
