using Vhost.Abstractions;

namespace Vhost.Plugins.File;

/// <summary>The queues of this plugin: at most two a reactor, with io_uring and without. Control path.</summary>
internal static class ReactorQueues
{
    private static readonly Lock Gate = new();
    private static readonly Dictionary<(IReactor Reactor, bool UsesIoUring), ReactorQueue> Queues = [];

    /// <summary>Gives the reactor's queue with a reference held; makes it if need be. Reactor thread only.</summary>
    /// <param name="reactor">The reactor.</param>
    /// <param name="useIoUring">Whether by io_uring.</param>
    public static ReactorQueue Get(IReactor reactor, bool useIoUring)
    {
        lock (Gate)
        {
            if (!Queues.TryGetValue((reactor, useIoUring), out var queue))
            {
                queue = new ReactorQueue(reactor, useIoUring);
                Queues.Add((reactor, useIoUring), queue);
            }

            queue.References++;
            return queue;
        }
    }

    /// <summary>How many system calls the io_urings of all reactors took. Any thread.</summary>
    public static long CountRingCalls()
    {
        lock (Gate)
        {
            return Queues.Values.Sum(queue => queue.RingCalls);
        }
    }

    /// <summary>Gives a reference back; the last one ends the queue. Reactor thread only.</summary>
    /// <param name="queue">The queue.</param>
    public static void Release(ReactorQueue queue)
    {
        lock (Gate)
        {
            if (--queue.References > 0)
            {
                return;
            }

            Queues.Remove((queue.Reactor, queue.UsesIoUring));
        }

        queue.Dispose();
    }
}
