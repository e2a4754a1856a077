using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;

namespace Vhost.Host.Dashboard;

/// <summary>The last messages of the log, for the dashboard. Bounded.</summary>
internal sealed class EventLog : ILoggerProvider
{
    private const int Capacity = 500;
    private const int MaxTextLength = 1000;

    private readonly Lock _lock = new();
    private readonly Queue<(long Id, DateTimeOffset Time, LogLevel Level, string Category, int EventId, string Text)> _events = new();
    private long _lastId;

    /// <inheritdoc/>
    public ILogger CreateLogger(string categoryName) => new Recording(this, categoryName);

    /// <inheritdoc/>
    public void Dispose()
    {
        // What was recorded stays readable.
    }

    /// <summary>Messages after one that is known, oldest first.</summary>
    /// <param name="id">The last that is known; 0 for none.</param>
    internal JsonArray GetSince(long id)
    {
        lock (_lock)
        {
            return [.. _events.Where(recorded => recorded.Id > id).Select(recorded => new JsonObject
            {
                ["id"] = recorded.Id,
                ["time"] = recorded.Time.ToString("O", CultureInfo.InvariantCulture),
                ["level"] = JsonNamingPolicy.CamelCase.ConvertName(recorded.Level.ToString()),
                ["category"] = recorded.Category,
                ["event_id"] = recorded.EventId,
                ["text"] = recorded.Text,
            })];
        }
    }

    private void Add(LogLevel level, string category, int eventId, string text)
    {
        lock (_lock)
        {
            _events.Enqueue((++_lastId, DateTimeOffset.UtcNow, level, category, eventId, text.Length <= MaxTextLength ? text : text[..MaxTextLength] + "..."));
            if (_events.Count > Capacity)
            {
                _events.Dequeue();
            }
        }
    }

    private sealed class Recording(EventLog events, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel is >= LogLevel.Information and < LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel))
            {
                events.Add(logLevel, category, eventId.Id, exception is null ? formatter(state, null) : $"{formatter(state, exception)} ({exception.Message})");
            }
        }
    }
}
