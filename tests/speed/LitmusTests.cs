using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Speed.Tests;

/// <summary>
/// The core of going to sleep without losing a wake-up, on two threads: one publishes work and then looks whether to wake the other, the other says that it
/// sleeps and then looks for work. If both look before the other's store has arrived, the wake-up is lost. A full fence between store and look forbids it.
/// Without the fence a processor may let the look pass the store; how often one does is its own affair (on two hyperthreads of one core perhaps never), so
/// it is told, not asserted. The control that must lose has the look before the store in its program.
/// </summary>
public sealed unsafe class LitmusTests
{
    private const int Rounds = 2_000_000;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    [Fact]
    public void With_the_fences_of_the_rings_no_wake_up_is_lost()
    {
        var (lost, rounds) = Play<Fenced>(untilLost: false);
        TestContext.Current.TestOutputHelper?.WriteLine($"{rounds} rounds with fences, {lost} lost wake-ups");
        Assert.True(rounds > 0);
        Assert.Equal(0, lost);
    }

    [Fact]
    public void Without_them_wake_ups_are_lost()
    {
        // The control: the same game, and the harness sees what it is to see.
        if (Environment.ProcessorCount == 1)
        {
            return; // one CPU executes both sides in some order
        }

        var (seen, tried) = Play<Unfenced>(untilLost: false);
        TestContext.Current.TestOutputHelper?.WriteLine($"{tried} rounds without fences, {seen} lost wake-ups: what this processor does");
        var (lost, rounds) = Play<LookFirst>(untilLost: true);
        TestContext.Current.TestOutputHelper?.WriteLine($"{rounds} rounds with the look before the store, {lost} lost wake-ups");
        Assert.True(lost > 0, $"{rounds} rounds that look before they store lost nothing: this test proves nothing here");
    }

    private static (long Lost, long Rounds) Play<TFence>(bool untilLost)
        where TFence : struct, IFence
    {
        var game = (Game*)NativeMemory.AlignedAlloc((nuint)sizeof(Game), 128);
        new Span<byte>(game, sizeof(Game)).Clear();
        var sleeper = new Thread(() =>
        {
            for (long round = 1; Await(ref game->ProducerRound, round, game); round++)
            {
                game->SawWork = Sleeper<TFence>(game);
                Volatile.Write(ref game->SleeperRound, round);
            }
        });
        sleeper.Start();
        var begin = Stopwatch.GetTimestamp();
        long lost = 0;
        long round = 0;
        while (round < Rounds && (Stopwatch.GetElapsedTime(begin) < Limit || (untilLost && lost == 0 && Stopwatch.GetElapsedTime(begin) < 3 * Limit)) && !(untilLost && lost > 0))
        {
            round++;
            game->Work = 0;
            game->Asleep = 0;
            Volatile.Write(ref game->ProducerRound, round);

            // The sleeper sees the round a cache-line transfer later; each round waits for another part of that, so that the two meet in some of them.
            for (var wait = round % 256; wait > 0 && Volatile.Read(ref game->IsOver) == 0; wait--)
            {
            }

            var sawSleep = Producer<TFence>(game);
            while (Volatile.Read(ref game->SleeperRound) != round)
            {
            }

            lost += sawSleep == 0 && game->SawWork == 0 ? 1 : 0;
        }

        Volatile.Write(ref game->IsOver, 1);
        sleeper.Join();
        NativeMemory.AlignedFree(game);
        return (lost, round);
    }

    private static bool Await(ref long place, long round, Game* game)
    {
        while (Volatile.Read(ref place) != round)
        {
            if (Volatile.Read(ref game->IsOver) != 0)
            {
                return false;
            }
        }

        return true;
    }

    // Publish, then look whether the other side sleeps: DriverVirtqueue.Publish, MessageStack.TryPush.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Producer<TFence>(Game* game)
        where TFence : struct, IFence
    {
        if (TFence.LooksFirst)
        {
            return LookThenStore(ref game->Asleep, ref game->Work);
        }

        Volatile.Write(ref game->Work, 1);
        TFence.Full();
        return Volatile.Read(ref game->Asleep);
    }

    // Say that we sleep, then look for work: TryArm of the rings, Reactor.Rest.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Sleeper<TFence>(Game* game)
        where TFence : struct, IFence
    {
        if (TFence.LooksFirst)
        {
            return LookThenStore(ref game->Work, ref game->Asleep);
        }

        Volatile.Write(ref game->Asleep, 1);
        TFence.Full();
        return Volatile.Read(ref game->Work);
    }

    // What a processor may make of the code without a fence, with more time between the two than any store buffer gives.
    private static int LookThenStore(ref int look, ref int store)
    {
        var seen = Volatile.Read(ref look);
        Thread.SpinWait(10);
        Volatile.Write(ref store, 1);
        return seen;
    }

    private interface IFence
    {
        static abstract bool LooksFirst { get; }

        static abstract void Full();
    }

    private readonly struct Fenced : IFence
    {
        public static bool LooksFirst => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Full() => Interlocked.MemoryBarrier();
    }

    private readonly struct Unfenced : IFence
    {
        public static bool LooksFirst => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Full()
        {
        }
    }

    private readonly struct LookFirst : IFence
    {
        public static bool LooksFirst => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Full()
        {
        }
    }

    /// <summary>Each word on cache lines of its own, as the index words and flags of a ring are.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 1024)]
    private struct Game
    {
        [FieldOffset(0)]
        public int Work;
        [FieldOffset(128)]
        public int Asleep;
        [FieldOffset(256)]
        public long ProducerRound;
        [FieldOffset(384)]
        public long SleeperRound;
        [FieldOffset(512)]
        public int SawWork;
        [FieldOffset(640)]
        public int IsOver;
    }
}
