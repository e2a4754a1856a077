using System.Diagnostics;
using Vhost.BlockController;
using Verdict = Vhost.BlockController.InterruptWatch.Verdict;

namespace Vhost.Pci.Tests;

/// <summary>Which interrupts are served at once, which after a pause, and when they are given up.</summary>
public sealed class InterruptWatchTests
{
    private readonly InterruptWatch _watch = new();
    private long _timestamp;

    [Fact]
    public void What_comes_with_answers_is_served_at_once_however_often_it_comes()
    {
        for (var answers = 0; answers < 100_000; answers++)
        {
            Assert.Equal(Verdict.Serve, Take(answers));
        }
    }

    [Fact]
    public void What_comes_with_nothing_is_served_a_few_times_then_after_pauses_then_no_more()
    {
        Assert.Equal(Verdict.Serve, Take(7));
        for (var i = 1; i < InterruptWatch.Most; i++)
        {
            Assert.Equal(i <= InterruptWatch.AtOnce ? Verdict.Serve : Verdict.Pause, Take(7));
        }

        Assert.Equal(Verdict.GiveUp, Take(7));
        Assert.Equal(InterruptWatch.Most, _watch.IdleCount);
    }

    [Fact]
    public void One_answer_begins_the_count_anew()
    {
        Take(0);
        for (var i = 1; i < InterruptWatch.Most; i++)
        {
            Take(0);
        }

        Assert.Equal(Verdict.Serve, Take(1));
        Assert.Equal(Verdict.Serve, Take(1));
        Assert.Equal(1, _watch.IdleCount);
    }

    [Fact]
    public void While_somebody_has_not_looked_there_are_pauses_and_no_verdict()
    {
        Take(0);
        for (var i = 1; i < 10 * InterruptWatch.Most; i++)
        {
            Assert.Equal(i <= InterruptWatch.AtOnce ? Verdict.Serve : Verdict.Pause, Take(0, hasEverybodyLooked: false));
        }

        Assert.Equal(0, _watch.IdleCount);
    }

    [Fact]
    public void What_comes_now_and_then_is_no_storm()
    {
        for (var i = 0; i < 10 * InterruptWatch.Most; i++)
        {
            Assert.Equal(Verdict.Serve, Take(0));
            _timestamp += 2 * Stopwatch.Frequency;
        }
    }

    private Verdict Take(long answers, bool hasEverybodyLooked = true) => _watch.Take(++_timestamp, answers, hasEverybodyLooked);
}
