using Vhost.Testing;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>A reactor that a thread turns until the end.</summary>
internal sealed class TurnedReactor : IDisposable
{
    private readonly Thread _thread;
    private volatile bool _stop;
    private volatile Exception? _failure;

    public TurnedReactor()
    {
        _thread = new Thread(Turn) { Name = "reactor", IsBackground = true };
        _thread.Start();
    }

    /// <summary>The reactor.</summary>
    public ManualReactor Reactor { get; } = new();

    /// <summary>Fails if something threw on the reactor.</summary>
    public void Check()
    {
        if (_failure is { } failure)
        {
            throw new InvalidOperationException($"the reactor's thread ended: {failure.Message}", failure);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stop = true;
        _thread.Join();
    }

    private void Turn()
    {
        try
        {
            while (!_stop)
            {
                if (Reactor.Turn() == 0)
                {
                    Thread.Yield();
                }
            }
        }
        catch (Exception exception)
        {
            _failure = exception;
        }
    }
}
