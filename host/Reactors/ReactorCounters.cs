using System.Runtime.InteropServices;

namespace Vhost.Host.Reactors;

/// <summary>
/// What a reactor counts. Written by the reactor's thread alone with plain stores; other threads read each number untorn but the
/// numbers of different moments. Padded by two cache lines at both ends against false sharing.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 384)]
internal struct ReactorCounters
{
    /// <summary>Turns of the loop.</summary>
    [FieldOffset(128)]
    internal long Turns;

    /// <summary>Stopwatch ticks of turns that did something.</summary>
    [FieldOffset(136)]
    internal long BusyTicks;

    /// <summary>Stopwatch ticks of turns that found nothing, and of sleep.</summary>
    [FieldOffset(144)]
    internal long IdleTicks;

    /// <summary>Stopwatch ticks asleep; contained in <see cref="IdleTicks"/>.</summary>
    [FieldOffset(152)]
    internal long SleepTicks;

    /// <summary>Calls of <c>Poll</c>.</summary>
    [FieldOffset(160)]
    internal long Polls;

    /// <summary>Items that pollers handled.</summary>
    [FieldOffset(168)]
    internal long Items;

    /// <summary>Sleeps in epoll_wait.</summary>
    [FieldOffset(176)]
    internal long Sleeps;

    /// <summary>Armed pollers that their descriptor woke.</summary>
    [FieldOffset(184)]
    internal long WakeUps;

    /// <summary>Looks at epoll without sleeping.</summary>
    [FieldOffset(192)]
    internal long Looks;

    /// <summary>Messages that ran.</summary>
    [FieldOffset(200)]
    internal long Messages;

    /// <summary>Pollers that threw and were put out of service.</summary>
    [FieldOffset(208)]
    internal long Quarantined;

    /// <summary>Bytes that the thread has allocated, as of its last message or sleep.</summary>
    [FieldOffset(216)]
    internal long AllocatedBytes;

    /// <summary>Methods that the compiler was called for on the thread, as of its last message or sleep.</summary>
    [FieldOffset(224)]
    internal long CompiledMethods;

    /// <summary>Whether the thread is in epoll_wait without a poller to serve; read by the watchdog and by senders of messages.</summary>
    [FieldOffset(256)]
    internal int Asleep;
}

/// <summary>A copy of a reactor's counters.</summary>
/// <param name="Turns">Turns of the loop.</param>
/// <param name="Busy">Time of turns that did something.</param>
/// <param name="Idle">Time of turns that found nothing, and of sleep.</param>
/// <param name="Asleep">Time asleep, contained in <paramref name="Idle"/>.</param>
/// <param name="Polls">Calls of pollers.</param>
/// <param name="Items">Items that pollers handled.</param>
/// <param name="Sleeps">Sleeps.</param>
/// <param name="WakeUps">Armed pollers that their descriptor woke.</param>
/// <param name="Looks">Looks at epoll without sleeping.</param>
/// <param name="Messages">Messages that ran.</param>
/// <param name="Quarantined">Pollers that threw and were put out of service.</param>
public sealed record ReactorStatistics(
    long Turns,
    TimeSpan Busy,
    TimeSpan Idle,
    TimeSpan Asleep,
    long Polls,
    long Items,
    long Sleeps,
    long WakeUps,
    long Looks,
    long Messages,
    long Quarantined)
{
    /// <summary>Bytes that the thread has allocated, as of its last message or sleep.</summary>
    public long AllocatedBytes { get; init; }

    /// <summary>Methods that were compiled on the thread, as of its last message or sleep: cold code that it met.</summary>
    public long CompiledMethods { get; init; }
}
