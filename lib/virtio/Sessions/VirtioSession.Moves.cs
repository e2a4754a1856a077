using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <content>Queues that go to other reactors while the guest uses them.</content>
public sealed partial class VirtioSession
{
    /// <summary>The session at this moment. Any thread.</summary>
    public SessionStatus Status
    {
        get
        {
            var queues = new List<QueueStatus>();
            for (var index = 0; index < _queues.Length; index++)
            {
                if (GetQueue(index) is { } queue)
                {
                    queues.Add(queue.Status);
                }
            }

            return new SessionStatus(_options.Id, _options.MaxQueueCount, queues);
        }
    }

    /// <summary>
    /// Lets queue i run on reactor i modulo their number, of those given. Queue by queue: it takes no more requests, those under way end, and it
    /// goes on elsewhere from where its ring stands.
    /// </summary>
    /// <param name="reactors">At least one.</param>
    /// <param name="cancellationToken">Ends the wait for requests under way.</param>
    /// <exception cref="TimeoutException">The wait was ended. The queues that were not moved go on where they were.</exception>
    public async ValueTask MoveAsync(IReadOnlyList<IReactor> reactors, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(reactors);
        ArgumentOutOfRangeException.ThrowIfZero(reactors.Count, nameof(reactors));
        await _moveTurn.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        var taken = 0;
        try
        {
            for (; taken < Places; taken++)
            {
                await _turn.WaitAsync(CancellationToken.None).ConfigureAwait(false);
            }

            _reactors = reactors;
            for (var index = 0; index < _queues.Length && !_isDisposed; index++)
            {
                if (_queues[index] is { } queue && !ReferenceEquals(queue.Reactor, reactors[index % reactors.Count]))
                {
                    await MoveAsync(queue, reactors[index % reactors.Count], cancellationToken).ConfigureAwait(false);
                }
            }
        }
        finally
        {
            if (taken > 0)
            {
                _turn.Release(taken);
            }

            _moveTurn.Release();
        }
    }

    private async Task MoveAsync(Virtqueue queue, IReactor target, CancellationToken cancellationToken)
    {
        try
        {
            var drained = await queue.Reactor.InvokeAsync(queue.BeginDrain).WaitAsync(cancellationToken).ConfigureAwait(false);
            await drained.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            queue.Reactor.Post(static state => ((Virtqueue)state!).EndDrain(), queue);
            throw new TimeoutException($"{queue.Name} stays on reactor {queue.Reactor.Id}: its requests under way did not end in time");
        }

        // Nothing is under way any more, so this is a matter of two messages; but a reactor may be held up by somebody else's.
        var setup = _setups[queue.Index]!;
        using var stopLimit = new CancellationTokenSource(DisposeLimit);
        var stop = await StopInTurnAsync(queue.Index, stopLimit.Token).ConfigureAwait(false);
        if (stop.AbandonedRequestCount != 0)
        {
            throw Lose(queue, $"reactor {queue.Reactor.Id} did not answer when it was to let go of the queue");
        }

        setup = setup with { State = stop.State };
        try
        {
            await StartInTimeAsync(setup, target).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            try
            {
                await StartInTimeAsync(setup, queue.Reactor).ConfigureAwait(false);
            }
            catch (Exception second)
            {
                throw Lose(queue, $"it could be started neither on reactor {target.Id} ({exception.Message}) nor again on reactor {queue.Reactor.Id} ({second.Message})");
            }

            throw new TimeoutException($"{queue.Name} stays on reactor {queue.Reactor.Id}: it could not be started on reactor {target.Id} ({exception.Message})", exception);
        }
    }

    private async Task StartInTimeAsync(VirtqueueSetup setup, IReactor reactor)
    {
        using var limit = new CancellationTokenSource(DisposeLimit);
        await StartAsync(setup, reactor, limit.Token).ConfigureAwait(false);
    }

    /// <summary>The queue runs nowhere any more: the front-end is told, since its guest waits for it.</summary>
    private TimeoutException Lose(Virtqueue queue, string reason)
    {
        _faults.Report(queue, reason, isBroken: true);
        return new TimeoutException($"{queue.Name} is stopped: {reason}");
    }
}
