using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Testing.DeviceModels;

namespace Vhost.Testing.BlockController;

/// <summary>What each driver has to hold because it shares the controller's thread and the queue of commands with the others.</summary>
public abstract unsafe class ControllerTests<TModel>
    where TModel : PciModel
{
    /// <summary>What messages call the controller.</summary>
    protected abstract string Noun { get; }

    [Fact]
    public void What_is_late_is_found()
    {
        using var harness = Create(startsServer: false);
        harness.Bdevs.Start(); // does not stop the host
        Assert.Empty(harness.Bdevs.Bdevs);
        Assert.Contains("attempt 1", harness.LogText, StringComparison.Ordinal);
        harness.StartServer();
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.Count == 2, $"the late {Noun}");
        using var driver = harness.Bdevs.Open();
        driver.Read(0, 1);
    }

    [Fact]
    public void What_vanishes_fails_its_requests_and_is_taken_again()
    {
        const int Count = 64;
        using var harness = Create();
        harness.Bdevs.Start();
        harness.AnnounceGuest();
        using (var driver = harness.Bdevs.Open())
        {
            HoldReads(harness.Model, true);
            for (var i = 0; i < Count; i++)
            {
                driver.Add(i, BlockOperation.Read, (ulong)i, 8, harness.Guest + (4096 * i), 4096);
            }

            driver.Submit();
            harness.StopServer();
            driver.Wait();
            for (var i = 0; i < Count; i++)
            {
                Assert.Equal(BlockStatus.NoDevice, driver.Request(i)->Status);
            }
        }

        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.Count == 0, "the withdrawal");
        Assert.Equal(2, harness.Bdevs.Withdrawals.Length);
        HoldReads(harness.Model, false);
        harness.StartServer();
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.Count == 2, $"the {Noun}'s return");
        using var again = harness.Bdevs.Open();
        Assert.Equal(BlockStatus.Success, again.Run(BlockOperation.Read, 0, 8, harness.Guest, 4096));
        Assert.Equal(0, harness.Bounced);
    }

    [Fact]
    public void A_channel_that_is_closed_under_what_is_silent_stops_its_DMA_first()
    {
        using var harness = Create(timeoutSeconds: 30);
        harness.Bdevs.Start();
        harness.AnnounceGuest();
        HoldReads(harness.Model, true);
        var driver = harness.Bdevs.Open();
        driver.Add(0, BlockOperation.Read, 0, 8, harness.Guest, 4096);
        driver.Submit();
        driver.Dispose();
        Assert.Equal(0, driver.CompletedCount);
        harness.AwaitLog("a channel was closed with commands under way");
        harness.AwaitLog("back after a reset");
        HoldReads(harness.Model, false);
        using var other = harness.Bdevs.Open();
        other.Read(0, 1);
    }

    [Theory]
    [InlineData(0, false, "polled with back-off")]
    [InlineData(1, false, "one interrupt line")]
    [InlineData(0, true, "one interrupt line")]
    public void Few_interrupts_are_enough_for_attaching_and_for_requests(int vectors, bool hasLine, string text)
    {
        using var harness = Create(vectors: vectors, hasLine: hasLine);
        harness.Bdevs.Start();
        Assert.Contains(text, harness.LogText, StringComparison.Ordinal);
        using var first = harness.Bdevs.Open();
        using var second = harness.Bdevs.Open(reactor: 1);
        WriteAndRead(first, second, 50);
        Plug(harness); // and events
        Assert.Equal(hasLine, harness.Model.LineRises > 0);
        Assert.DoesNotContain("in a row that nothing came with", harness.LogText, StringComparison.Ordinal);
    }

    [Fact]
    public void A_line_that_never_goes_low_is_named_once_and_given_up_for_polling()
    {
        using var harness = Create(vectors: 0, hasLine: true);
        harness.Bdevs.Start();
        using var first = harness.Bdevs.Open();
        using var second = harness.Bdevs.Open(reactor: 1);
        HoldLine(harness.Model);
        WriteAndRead(first, second, 4); // the line's last rise is among these, or comes with the next look at the health
        harness.AwaitLog("does not take its interrupt line down");
        WriteAndRead(first, second, 50);
        Plug(harness);
        Assert.Equal(1, harness.Bdevs.Log.Lines.Count(line => line.Text.Contains("interrupts in a row that nothing came with", StringComparison.Ordinal)));
        Assert.Equal("false", harness.Detail("was_reset"));
        Assert.Empty(harness.Bdevs.Withdrawals);
    }

    [Fact]
    public void A_line_that_is_high_from_the_start_does_not_keep_the_disks_away()
    {
        using var harness = Create(vectors: 0, hasLine: true);
        HoldLine(harness.Model);
        harness.Bdevs.Start();
        using var first = harness.Bdevs.Open();
        using var second = harness.Bdevs.Open(reactor: 1);
        WriteAndRead(first, second, 50);
        harness.AwaitLog("does not take its interrupt line down");
        WriteAndRead(first, second, 50);
        Assert.Equal(1, harness.Bdevs.Log.Lines.Count(line => line.Text.Contains("interrupts in a row that nothing came with", StringComparison.Ordinal)));
    }

    /// <summary>A driver and a model with two disks, the first of blocks of 512 bytes; not started.</summary>
    protected abstract ControllerHarness<TModel> Create(int vectors = 8, bool hasLine = false, bool startsServer = true, int timeoutSeconds = 1);

    /// <summary>Lets reads go unanswered, or no longer.</summary>
    protected abstract void HoldReads(TModel model, bool holds);

    /// <summary>From its next rise on the line stays high.</summary>
    protected abstract void HoldLine(TModel model);

    /// <summary>Plugs a disk, and waits until it is seen.</summary>
    protected abstract void Plug(ControllerHarness<TModel> harness);

    private static void WriteAndRead(BdevDriver first, BdevDriver second, int count)
    {
        var data = new byte[4096];
        for (var i = 0; i < count; i++)
        {
            Random.Shared.NextBytes(data);
            Assert.Equal(BlockStatus.Success, first.Write((ulong)i * 8, data));
            Assert.Equal(data, second.Read((ulong)i * 8, 8));
        }
    }
}
