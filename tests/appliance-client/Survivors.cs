using System.Globalization;
using Vhost.Abstractions;
using Vhost.Crash.Tests;
using Vhost.Testing.FrontEnd;

namespace Vhost.Appliance.Client;

/// <summary>
/// Guests that read, write, flush and check each byte, and that go on with what they had under way whenever their server ends and comes back. Files tell them and what
/// is known of them: REPORT how far they are, some times a second; REPORT.end, made by somebody else, that they shall finish and read everything back.
/// </summary>
/// <param name="report">The report's path.</param>
internal sealed class Survivors(string report)
{
    private const int TellEveryMilliseconds = 200;
    private const int EndLimitMilliseconds = 240_000;

    /// <summary>Runs them to their end.</summary>
    /// <param name="places">Blocks of each disk that are used.</param>
    /// <param name="seed">Of all choices.</param>
    /// <param name="guests">scsi or blk, split or packed, requests under way and socket, with colons between.</param>
    /// <returns>What was done, for people.</returns>
    /// <exception cref="FrontEndException">A request failed, data was wrong, or nothing came for long.</exception>
    public string Run(ulong places, int seed, IReadOnlyList<string> guests)
    {
        Guest[] all = [.. guests.Select((guest, i) => Make(guest, places, seed + i))];
        Task[] lives = [.. all.Select(guest => Task.Factory.StartNew(guest.Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        var end = long.MaxValue;
        while (lives.Any(life => !life.IsCompleted) && lives.All(life => !life.IsFaulted))
        {
            Task.WaitAny(lives, TellEveryMilliseconds);
            Tell(all);
            if (end == long.MaxValue && File.Exists(report + ".end"))
            {
                end = Environment.TickCount64 + EndLimitMilliseconds;
                Array.ForEach(all, guest => guest.Stop());
            }

            if (Environment.TickCount64 > end)
            {
                throw new FrontEndException($"the guests did not end within {EndLimitMilliseconds / 1000} s");
            }
        }

        if (lives.FirstOrDefault(life => life.IsFaulted) is { } failed)
        {
            throw new FrontEndException(failed.Exception!.GetBaseException().Message);
        }

        Tell(all);
        Array.ForEach(all, guest => guest.Dispose());
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{all.Sum(guest => guest.Completed)} requests, {all.Sum(guest => guest.BytesVerified) >> 20} MiB verified, {all.Sum(guest => guest.Returns)} returns of {all.Length} guests");
    }

    private static Guest Make(string text, ulong places, int seed)
    {
        string[] parts = text.Split(':');
        var format = parts[1] == "packed" ? VirtqueueFormat.Packed : VirtqueueFormat.Split;
        var kind = new GuestKind(text, parts[0] == "scsi", format, int.Parse(parts[2], CultureInfo.InvariantCulture), seed);
        return new Guest(kind, parts[3], places, followsLink: true);
    }

    // Of each guest: requests that came back, how often it came back itself.
    private void Tell(Guest[] guests)
    {
        File.WriteAllText(report + ".new", string.Join(' ', guests.Select(guest => string.Create(CultureInfo.InvariantCulture, $"{guest.Completed} {guest.Returns}"))));
        File.Move(report + ".new", report, overwrite: true);
    }
}
