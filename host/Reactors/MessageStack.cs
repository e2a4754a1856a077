namespace Vhost.Host.Reactors;

/// <summary>Something that runs on a reactor's thread. Intrusive: a message is in at most one stack at a time and may be sent again once it runs.</summary>
internal abstract class ReactorMessage
{
    /// <summary>The message that was posted before this one, while it is under way.</summary>
    internal ReactorMessage? Previous;

    /// <summary>Names the message when it throws or does not return.</summary>
    internal abstract string Name { get; }

    /// <summary>Runs on the reactor's thread. Must not block.</summary>
    internal abstract void Run();
}

/// <summary>A lock-free stack with many producers and one consumer that always takes everything, so that there is no ABA problem.</summary>
internal sealed class MessageStack
{
    private static readonly ReactorMessage Closed = new ClosedMark();

    // The line that producers write; nothing that the owner writes shares it.
    private PaddedHead _head;

    /// <summary>Whether messages wait. Owner only.</summary>
    internal bool HasPending => Volatile.Read(ref _head.Value) is not null;

    /// <summary>Adds a message. Any thread. A full fence, so that what was pushed is seen before a wake flag is read afterwards.</summary>
    /// <param name="message">A message that is in no stack.</param>
    /// <returns>False if the stack was closed; the message will not run.</returns>
    internal bool TryPush(ReactorMessage message)
    {
        while (true)
        {
            var head = Volatile.Read(ref _head.Value);
            if (ReferenceEquals(head, Closed))
            {
                return false;
            }

            message.Previous = head;
            if (ReferenceEquals(Interlocked.CompareExchange(ref _head.Value, message, head), head))
            {
                return true;
            }
        }
    }

    /// <summary>Takes all messages, oldest first, linked by <see cref="ReactorMessage.Previous"/> (which then means the next one). Owner only.</summary>
    internal ReactorMessage? TakeAll() => Reverse(Interlocked.Exchange(ref _head.Value, null));

    /// <summary>Takes all messages and refuses any other. Owner only.</summary>
    internal ReactorMessage? Close()
    {
        var last = Interlocked.Exchange(ref _head.Value, Closed);
        return ReferenceEquals(last, Closed) ? null : Reverse(last);
    }

    private static ReactorMessage? Reverse(ReactorMessage? message)
    {
        ReactorMessage? reversed = null;
        while (message is not null)
        {
            var previous = message.Previous;
            message.Previous = reversed;
            reversed = message;
            message = previous;
        }

        return reversed;
    }

    private struct PaddedHead
    {
#pragma warning disable CS0169, IDE0051 // padding: the prefetcher takes lines in pairs
        private readonly Pad120 _before;
        internal ReactorMessage? Value;
        private readonly Pad120 _after;
#pragma warning restore CS0169, IDE0051
    }

    private sealed class ClosedMark : ReactorMessage
    {
        internal override string Name => "closed";

        internal override void Run()
        {
        }
    }
}

/// <summary>120 bytes that nobody touches.</summary>
[System.Runtime.CompilerServices.InlineArray(15)]
internal struct Pad120
{
    private ulong _word;
}
