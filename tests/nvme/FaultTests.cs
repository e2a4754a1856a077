using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Testing.DeviceModels.Nvme;

namespace Vhost.Nvme.Tests;

/// <summary>Controllers that lie or fall silent: a named error, each request ended once, the process and the other requests live.</summary>
public sealed unsafe class FaultTests
{
    [Theory]
    [InlineData(NvmeFault.ForeignId, "not outstanding")]
    [InlineData(NvmeFault.Twice, "not outstanding")]
    [InlineData(NvmeFault.ForeignQueue, "names submission queue 2")]
    [InlineData(NvmeFault.Flood, "not outstanding")]
    [InlineData(NvmeFault.OldPhase, "was not answered, and aborting it did not help")]
    [InlineData(NvmeFault.Fatal, "CSTS.CFS")]
    public void A_wrong_completion_resets_the_controller_and_ends_each_request_once(NvmeFault fault, string reason)
    {
        var settings = new NvmeSettings();
        using var harness = new NvmeHarness(settings).Start();
        using var driver = harness.Bdevs.Open();
        Assert.Equal(BlockStatus.Success, driver.Write(1, new byte[512]));
        var left = 1;
        settings.OnIo = _ => left-- == 1 ? fault : NvmeFault.None;
        for (var i = 0; i < 8; i++)
        {
            driver.Add(i, BlockOperation.Flush, 0, 0);
        }

        driver.Submit();
        driver.Wait(); // the kit's driver refuses a second completion
        harness.AwaitLog("back after a reset");
        Assert.Contains(reason, harness.LogText, StringComparison.Ordinal);
        Assert.Equal(2, harness.Model.Counters.Enables);
        for (var i = 0; i < 8; i++)
        {
            Assert.True(driver.Request(i)->Status is BlockStatus.Success or BlockStatus.TimedOut, $"{driver.Request(i)->Status}");
        }

        Assert.Equal(BlockStatus.Success, driver.Write(2, new byte[512]));
        Assert.Empty(harness.Bdevs.Withdrawals);
    }

    [Fact]
    public void A_command_that_is_not_answered_is_aborted_and_the_others_go_on()
    {
        var settings = new NvmeSettings();
        using var harness = new NvmeHarness(settings).Start();
        using var driver = harness.Bdevs.Open();
        var left = 1;
        settings.OnIo = command => command.Opcode == 2 && left-- == 1 ? NvmeFault.Hold : NvmeFault.None;
        var data = stackalloc byte[512];
        Assert.Equal(BlockStatus.Aborted, driver.Run(BlockOperation.Read, 0, 1, data, 512));
        Assert.Equal(1, harness.Model.Counters.Aborts);
        Assert.Equal(1, harness.Model.Counters.Enables);
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Read, 0, 1, data, 512));
    }

    [Fact]
    public void A_command_whose_abort_does_not_help_costs_a_reset_and_fails()
    {
        var settings = new NvmeSettings { AbortsHeldCommands = false };
        using var harness = new NvmeHarness(settings).Start();
        harness.AnnounceGuest();
        using var driver = harness.Bdevs.Open();
        var left = 1;
        settings.OnIo = command => command.Opcode == 2 && left-- == 1 ? NvmeFault.Hold : NvmeFault.None;
        Assert.Equal(BlockStatus.TimedOut, driver.Run(BlockOperation.Read, 0, 8, harness.Guest, 4096));
        harness.AwaitLog("back after a reset");
        Assert.Equal(2, harness.Model.Counters.Enables);
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Read, 0, 8, harness.Guest, 4096));
    }

    [Fact]
    public void A_controller_that_does_not_come_back_fails_everything_and_is_looked_for_again()
    {
        var settings = new NvmeSettings { AbortsHeldCommands = false };
        using var harness = new NvmeHarness(settings).Start();
        using (var driver = harness.Bdevs.Open())
        {
            settings.OnIo = _ => NvmeFault.Hold;
            for (var i = 0; i < 4; i++)
            {
                driver.Add(i, BlockOperation.Flush, 0, 0);
            }

            driver.Submit();
            settings.NeverReady = true;
            driver.Wait();
            for (var i = 0; i < 4; i++)
            {
                Assert.Equal(BlockStatus.TimedOut, driver.Request(i)->Status);
            }

            harness.AwaitLog("reset attempt 3 of 3 failed");
            harness.Bdevs.TurnUntil(() => harness.Bdevs.Withdrawals.Length == 2, "withdrawal");
            Assert.Equal(BlockStatus.NoDevice, driver.Run(BlockOperation.Flush));
        }

        settings.NeverReady = false;
        settings.OnIo = null;
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.Count == 2, "re-attach");
        using var again = harness.Bdevs.Open();
        Assert.Equal(BlockStatus.Success, again.Run(BlockOperation.Flush));
    }

    [Fact]
    public void A_medium_error_is_an_error_of_its_request_alone_and_floods_of_them_do_not_flood_the_log()
    {
        var settings = new NvmeSettings { OnIo = command => command.Opcode == 2 ? NvmeFault.MediaError : NvmeFault.None };
        using var harness = new NvmeHarness(settings).Start();
        using var driver = harness.Bdevs.Open();
        var data = stackalloc byte[512];
        for (var i = 0; i < 500; i++)
        {
            Assert.Equal(BlockStatus.IoError, driver.Run(BlockOperation.Read, (ulong)i, 1, data, 512));
        }

        Assert.Equal(64, harness.Bdevs.Log.Lines.Count(line => line.Text.Contains("unrecovered read error", StringComparison.Ordinal)));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
        Assert.Equal(1, harness.Model.Counters.Enables);
    }

    [Theory]
    [InlineData(0x0000002004010000UL | 1023, 0x1000UL, "too small for an NVMe controller's registers")]
    [InlineData(0x0000002004010000UL | 1023, 0x1010UL, "too small for the doorbells of queue 2")]
    [InlineData(ulong.MaxValue, 0x4000UL, "CAP reads as all ones")]
    [InlineData(0x0000000004010000UL | 1023, 0x4000UL, "NVM command set")]
    [InlineData(0x0001002004010000UL | 1023, 0x4000UL, "CAP.MPSMIN")]
    [InlineData(0x0000002004010000UL, 0x4000UL, "CAP.MQES")]
    public void A_controller_with_wrong_registers_is_named(ulong capabilities, ulong barLength, string reason)
    {
        using var harness = new NvmeHarness(new NvmeSettings { Capabilities = capabilities, BarLengthBytes = barLength }, options => options.AttachTimeoutSeconds = 1).Start();
        harness.AwaitLog(reason);
        harness.AwaitLog("no usable NVMe controller within 1 s");
        Assert.Empty(harness.Bdevs.Bdevs);
    }

    [Fact]
    public void A_wide_doorbell_stride_that_the_BAR_cannot_hold_is_named()
    {
        var settings = new NvmeSettings();
        settings.Capabilities |= 15UL << 32;
        using var harness = new NvmeHarness(settings, options => options.AttachTimeoutSeconds = 1).Start();
        harness.AwaitLog("too small for the doorbells");
    }

    [Fact]
    public void A_device_of_another_class_is_refused() => AssertRefused(new NvmeSettings { ClassCode = 0x010601 }, "not that of an NVMe controller");

    [Fact]
    public void Too_few_queues_are_refused() => AssertRefused(new NvmeSettings { QueueGrant = 0 }, "grants 1 I/O queue pairs, but there are 2 reactors");

    [Fact]
    public void Strange_entry_sizes_are_refused() => AssertRefused(new NvmeSettings { PatchController = data => data[512] = 0x77 }, "64-byte commands");

    [Fact]
    public void An_absurd_grant_of_queues_is_harmless()
    {
        using var harness = new NvmeHarness(new NvmeSettings { QueueGrant = uint.MaxValue }).Start();
        using var driver = harness.Bdevs.Open();
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
    }

    [Fact]
    public void The_smallest_queues_work()
    {
        var settings = new NvmeSettings();
        settings.Capabilities = (settings.Capabilities & ~0xffffUL) | 1;
        using var harness = new NvmeHarness(settings).Start();
        using var driver = harness.Bdevs.Open();
        for (var i = 0; i < 32; i++)
        {
            driver.Add(i, BlockOperation.Flush, 0, 0);
        }

        driver.Submit();
        driver.Wait();
        Assert.Equal(32, harness.Model.Counters.Flushes);
    }

    [Theory]
    [InlineData("capacity", "capacity of 0 blocks")]
    [InlineData("huge", "more than 2^63 bytes")]
    [InlineData("block 3", "block size is 2^3 bytes")]
    [InlineData("block 255", "block size is 2^255 bytes")]
    [InlineData("format", "lies outside the 1 formats")]
    [InlineData("metadata", "8 bytes of metadata per block at the end of each block")]
    [InlineData("protection", "protection information")]
    public void A_namespace_that_cannot_be_served_is_named_and_the_others_are_served(string what, string reason)
    {
        var settings = new NvmeSettings
        {
            PatchNamespace = (id, data) =>
            {
                if (id == 2)
                {
                    Patch(what, data);
                }
            },
        };
        using var harness = new NvmeHarness(settings).Start();
        Assert.Equal("Nvme0n1", Assert.Single(harness.Bdevs.Bdevs).Key);
        Assert.Contains($"namespace 2 is not served: ", harness.LogText, StringComparison.Ordinal);
        Assert.Contains(reason, harness.LogText, StringComparison.Ordinal);
    }

    [Fact]
    public void A_flood_of_admin_completions_resets_the_controller()
    {
        var settings = new NvmeSettings();
        using var harness = new NvmeHarness(settings).Start();
        var left = 1;
        settings.OnAdmin = command => command.Opcode == 2 && left-- == 1 ? NvmeFault.Flood : NvmeFault.None;
        harness.Model.Warn(1);
        harness.AwaitLog("resetting the controller");
        harness.AwaitLog("back after a reset");
    }

    private static void AssertRefused(NvmeSettings settings, string reason)
    {
        using var harness = new NvmeHarness(settings);
        var refusal = Assert.ThrowsAny<IOException>(() => harness.Start());
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
        Assert.Empty(harness.Bdevs.Bdevs);
    }

    private static void Patch(string what, byte[] data)
    {
        switch (what)
        {
            case "capacity":
                BinaryPrimitives.WriteUInt64LittleEndian(data, 0);
                break;
            case "huge":
                BinaryPrimitives.WriteUInt64LittleEndian(data, ulong.MaxValue);
                break;
            case "block 3":
                data[130] = 3;
                break;
            case "block 255":
                data[130] = 255;
                break;
            case "format":
                data[26] = 5;
                break;
            case "metadata":
                data[128] = 8;
                data[26] = 0x10;
                break;
            case "protection":
                data[128] = 8;
                data[29] = 1;
                break;
        }
    }
}
