using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;

namespace Vhost.Host.Observability;

/// <summary>Something that happened to a controller.</summary>
/// <param name="Time">When.</param>
/// <param name="Level">How much it matters.</param>
/// <param name="Text">What.</param>
public readonly record struct RecordedEvent(DateTimeOffset Time, LogLevel Level, string Text);

/// <summary>
/// The last events of one controller: whatever its transport and device logged, protocol messages included, at every level and whatever the log shows. An
/// error brings them into the log with what came before it. Control threads only; bounded.
/// </summary>
/// <param name="name">The controller.</param>
/// <param name="log">Takes what came before an error.</param>
internal sealed class FlightRecorder(string name, ILogger log)
{
    /// <summary>How many events are kept.</summary>
    internal const int Capacity = 256;

    /// <summary>How many of them come into the log before an error.</summary>
    internal const int Dumped = 32;

    private const int MaxTextLength = 500;

    private static readonly TimeSpan DumpPause = TimeSpan.FromSeconds(30);

    private readonly Lock _lock = new();
    private readonly RecordedEvent[] _events = new RecordedEvent[Capacity];
    private long _count;
    private long _dumpedAt;
    private long _dumpedCount;

    /// <summary>Makes a logger whose messages are recorded too.</summary>
    /// <param name="inner">The logger.</param>
    internal ILogger Wrap(ILogger inner) => new Recording(this, inner);

    /// <summary>The events, oldest first.</summary>
    internal IReadOnlyList<RecordedEvent> GetEvents()
    {
        lock (_lock)
        {
            var kept = (int)Math.Min(_count, Capacity);
            return [.. Enumerable.Range(0, kept).Select(i => _events[(_count - kept + i) % Capacity])];
        }
    }

    private void Add(LogLevel level, string text)
    {
        RecordedEvent[] before = [];
        lock (_lock)
        {
            if (level >= LogLevel.Error && _count > _dumpedCount && (_dumpedAt == 0 || Stopwatch.GetElapsedTime(_dumpedAt) > DumpPause))
            {
                before = [.. GetEvents().TakeLast((int)Math.Min(Dumped, _count - _dumpedCount))];
                _dumpedAt = Stopwatch.GetTimestamp();
                _dumpedCount = _count + 1;
            }

            _events[_count++ % Capacity] = new RecordedEvent(DateTimeOffset.UtcNow, level, text.Length <= MaxTextLength ? text : text[..MaxTextLength] + "...");
        }

        if (before.Length > 0)
        {
            log.LogError(
                HostEvents.FlightRecord,
                "{Controller}: what came before:\n{Record}",
                name,
                string.Join('\n', before.Select(recorded => string.Create(CultureInfo.InvariantCulture, $"  {recorded.Time:HH:mm:ss.ffffff} {recorded.Text}"))));
        }
    }

    private sealed class Recording(FlightRecorder recorder, ILogger inner) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => inner.BeginScope(state);

        public bool IsEnabled(LogLevel logLevel) => logLevel != LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (inner.IsEnabled(logLevel))
            {
                inner.Log(logLevel, eventId, state, exception, formatter);
            }

            recorder.Add(logLevel, exception is null ? formatter(state, null) : $"{formatter(state, exception)} ({exception.GetType().Name}: {exception.Message})");
        }
    }
}
