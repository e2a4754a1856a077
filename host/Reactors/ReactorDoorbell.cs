using Vhost.Abstractions;

namespace Vhost.Host.Reactors;

/// <summary>
/// Makes a callback run on a reactor some time after it was rung, once for any number of rings. Ringing does not allocate on the host's own
/// reactors. What was written before a ring is seen by the callback.
/// </summary>
/// <param name="reactor">Where the callback runs.</param>
/// <param name="name">Names it to the watchdog.</param>
/// <param name="callback">What to run.</param>
internal sealed class ReactorDoorbell(IReactor reactor, string name, Action callback) : ReactorMessage
{
    private int _isRung;

    internal override string Name => name;

    /// <summary>Rings. Any thread.</summary>
    internal void Ring()
    {
        // Full fence: the caller's queue is written before the flag is looked at; pairs with the exchange in Run.
        if (Interlocked.Exchange(ref _isRung, 1) != 0)
        {
            return;
        }

        if (reactor is Reactor own)
        {
            own.TryPost(this);
        }
        else
        {
            reactor.Post(static state => ((ReactorDoorbell)state!).Run(), this);
        }
    }

    internal override void Run()
    {
        // Full fence: the flag falls before the queue is looked at; pairs with the exchange in Ring.
        Interlocked.Exchange(ref _isRung, 0);
        callback();
    }
}
