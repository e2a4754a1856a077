using System.Buffers.Binary;
using System.Globalization;
using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Testing.FrontEnd;

namespace Vhost.Crash.Tests;

/// <summary>vhostd is killed while it changes persistent reservations that outlive it (APTPL): what the next one has is what was, or what was asked for.</summary>
public sealed class ReservationTests
{
    private const int Kills = 4;
    private const int Slot = 0;
    private const int ListBytes = 24;
    private const int AnswerBytes = 64;
    private const byte RegisterAndIgnoreExistingKey = 6;
    private const byte Reserve = 1;
    private const byte ReadKeys = 0;
    private const byte ReadReservation = 1;
    private const byte ExclusiveAccess = 3;
    private const byte CheckCondition = 2;

    [Fact]
    public async Task Reservations_are_what_they_were_or_what_was_asked_for_whenever_vhostd_is_killed()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string store = scenario.FilePath("kept");
            string socket = scenario.FilePath("s");
            JsonObject manifest = new ManifestBuilder().File("File0", Disk.Create(scenario.FilePath("disk.img"), 1)).Scsi("vhost.0", socket, "File0").Build();
            manifest["controllers"]!["vhost.0"]!["reservations"] = store;
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, manifest);
            await Task.Run(async () =>
            {
                using var device = new TrackedDevice(socket, VirtqueueFormat.Split, isScsi: true, 4 << 20);
                var requests = new VirtioScsiRequests(device.Device, 1, 4096);
                long key = 1;
                Assert.Equal(0, Execute(device.Queue, requests, () => AddOut(device.Queue, requests, RegisterAndIgnoreExistingKey, 0, key)));
                Assert.Equal(0, Execute(device.Queue, requests, () => AddOut(device.Queue, requests, Reserve, key, 0)));
                string file = Assert.Single(Directory.GetFiles(store));
                int kept = 0;
                int told = 0;
                for (int kill = 0; kill < Kills; kill++)
                {
                    // At once, and as soon as the file is there: that is before, while and after it is written, and before and after that is said.
                    AddOut(device.Queue, requests, RegisterAndIgnoreExistingKey, 0, key + 1);
                    device.Queue.Publish();
                    bool isThere = kill % 2 != 0 && SpinUntil(() => Holds(file, key + 1));
                    vhostd.Kill();
                    isThere |= Holds(file, key + 1);
                    bool isTold = device.Queue.Ring.HasUsed;
                    Assert.True(isThere || !isTold, "what was said to be kept is not");
                    Assert.True(isThere || Holds(file, key), "the file is neither the one nor the other");

                    // A file that cannot be read would be refused here.
                    vhostd = await VhostdProcess.StartAsync(scenario, manifest);
                    device.ConnectAgain();
                    Assert.Equal(Slot, BlockRequests.Complete(device.Queue, 60_000));
                    int outcome = Outcome(requests);
                    if (isTold)
                    {
                        Assert.Equal(0, outcome);
                        told++;
                    }
                    else if (outcome == 0)
                    {
                        // Not taken from the ring before the kill, so carried out once, now.
                        Assert.True(Holds(file, key + 1));
                        isThere = true;
                    }
                    else
                    {
                        // Aborted, since it may have been carried out, or not begun for a unit attention.
                        Assert.Contains(outcome, (int[])[0x0b2f02, 0x062900]);
                    }

                    key += isThere ? 1 : 0;
                    kept += isThere ? 1 : 0;
                    Assert.Equal(key, Key(device.Queue, requests, ReadKeys));
                    Assert.Equal(key, Key(device.Queue, requests, ReadReservation));
                    Assert.Equal(ExclusiveAccess, requests.Data(Slot).Span[21]);
                }

                TestContext.Current.TestOutputHelper!.WriteLine($"{Kills} kills: {kept} changes kept, {told} of them told");
            });
            Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(60)));
        });
    }

    private static bool Holds(string file, long key) =>
        File.ReadAllText(file).Contains(string.Create(CultureInfo.InvariantCulture, $" {key:x16}\nsha256"), StringComparison.Ordinal);

    private static bool SpinUntil(Func<bool> condition)
    {
        long limit = Environment.TickCount64 + 60_000;
        while (!condition())
        {
            Assert.True(Environment.TickCount64 < limit, "the file is not written");
        }

        return true;
    }

    private static long Key(FrontEndQueue queue, VirtioScsiRequests requests, byte serviceAction)
    {
        Assert.Equal(0, Execute(queue, requests, () =>
        {
            Span<byte> cdb = requests.Cdb(Slot);
            cdb.Clear();
            cdb[0] = 0x5e;
            cdb[1] = serviceAction;
            cdb[8] = AnswerBytes;
            Assert.True(requests.TryAddCommand(queue.Ring, Slot, isWrite: false, AnswerBytes));
        }));
        return BinaryPrimitives.ReadInt64BigEndian(requests.Data(Slot).Span[8..]);
    }

    private static void AddOut(FrontEndQueue queue, VirtioScsiRequests requests, byte serviceAction, long key, long newKey)
    {
        Span<byte> cdb = requests.Cdb(Slot);
        cdb.Clear();
        cdb[0] = 0x5f;
        cdb[1] = serviceAction;
        cdb[2] = serviceAction == Reserve ? ExclusiveAccess : (byte)0;
        cdb[8] = ListBytes;
        Span<byte> list = requests.Data(Slot).Span[..ListBytes];
        list.Clear();
        BinaryPrimitives.WriteInt64BigEndian(list, key);
        BinaryPrimitives.WriteInt64BigEndian(list[8..], newKey);
        list[20] = serviceAction == Reserve ? (byte)0 : (byte)1;
        Assert.True(requests.TryAddCommand(queue.Ring, Slot, isWrite: true, ListBytes));
    }

    /// <summary>Carries a command out, again where a unit attention came first.</summary>
    private static int Execute(FrontEndQueue queue, VirtioScsiRequests requests, Action add)
    {
        int outcome;
        int attentions = 0;
        do
        {
            add();
            Assert.Equal(Slot, BlockRequests.Complete(queue, 60_000));
            outcome = Outcome(requests);
        }
        while (outcome >> 16 == 6 && ++attentions < 4);

        return outcome;
    }

    /// <summary>0, or the sense key and the additional sense of a check condition.</summary>
    private static int Outcome(VirtioScsiRequests requests)
    {
        Assert.Equal(0, requests.Response(Slot));
        if (requests.Status(Slot) == 0)
        {
            return 0;
        }

        Assert.Equal(CheckCondition, requests.Status(Slot));
        ReadOnlySpan<byte> sense = requests.Sense(Slot);
        return ((sense[2] & 15) << 16) | BinaryPrimitives.ReadUInt16BigEndian(sense[12..]);
    }
}
