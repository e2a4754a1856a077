using System.Globalization;
using System.Text.Json.Nodes;

namespace Vhost.Crash.Tests;

/// <summary>Guests under load whose vhostd is killed and started again.</summary>
internal static class KillRun
{
    /// <summary>Starts vhostd and the guests, kills vhostd and starts it again, and lets the guests read everything back.</summary>
    /// <param name="scenario">Where it runs.</param>
    /// <param name="kinds">The guests.</param>
    /// <param name="socket">The socket of the nth one.</param>
    /// <param name="places">Blocks of each disk that are used.</param>
    /// <param name="manifest">What vhostd serves.</param>
    /// <param name="kills">How often it is killed.</param>
    /// <param name="build">The build to start for the nth time.</param>
    /// <param name="seed">Of when it is killed.</param>
    public static async Task RunAsync(Scenario scenario, GuestKind[] kinds, Func<int, string> socket, ulong places, JsonObject manifest, int kills, Func<int, string> build, int seed)
    {
        var random = new Random(seed);
        VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, build(0), manifest);
        Guest[] guests = [.. kinds.Select((kind, i) => new Guest(kind, socket(i), places))];
        Task[] lives = [.. guests.Select(guest => Task.Factory.StartNew(guest.Run, TaskCreationOptions.LongRunning))];
        try
        {
            for (int kill = 0; kill < kills; kill++)
            {
                // Killed before, while and after the guests come back, and with work done in between.
                long[] before = [.. guests.Select(guest => guest.Completed)];
                int wanted = random.Next(3) == 0 ? 0 : random.Next(1, 60);
                await Deadline.UntilAsync($"work between two kills (seed {seed})", TimeSpan.FromSeconds(90), () =>
                    lives.Any(life => life.IsFaulted) || Enumerable.Range(0, guests.Length).All(i => guests[i].Completed - before[i] >= wanted));
                await Task.WhenAll(lives.Where(life => life.IsFaulted));
                await Task.Delay(random.Next(40));
                vhostd.Kill();
                vhostd = await VhostdProcess.StartAsync(scenario, build(kill + 1), manifest);
                Array.ForEach(guests, guest => guest.Reconnect());
            }

            foreach (Guest guest in guests)
            {
                guest.Stop();
            }

            await Task.WhenAll(lives).WaitAsync(TimeSpan.FromSeconds(180));
            TestContext.Current.TestOutputHelper!.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{kills} kills of {guests.Length} sessions, {guests.Sum(guest => guest.Completed)} requests, {guests.Sum(guest => guest.BytesVerified) >> 20} MiB verified"));
        }
        finally
        {
            Array.ForEach(guests, guest => guest.Abandon());
            foreach (Task life in lives)
            {
                await life.ContinueWith(static task => task.Exception, TaskScheduler.Default).WaitAsync(TimeSpan.FromSeconds(180));
            }

            Array.ForEach(guests, guest => guest.Dispose());
        }
    }
}
