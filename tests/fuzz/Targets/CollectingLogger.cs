using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>Keeps the lines of one input.</summary>
internal sealed class CollectingLogger : ILogger
{
    /// <summary>The lines.</summary>
    public ConcurrentQueue<string> Lines { get; } = new();

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        Lines.Enqueue(formatter(state, exception) + (exception is null ? "" : $" {exception}"));
}
