using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>
/// How far a guest has come on its way up, by what its firmware and its kernel wrote. An emulated machine on a loaded host can stop for reasons of its own, and what
/// tells that from a server that does not answer is whether any disk was in use at that point.
/// </summary>
/// <param name="firmwareLog">The file to which the firmware's messages go.</param>
/// <param name="console">The file that is the kernel's console.</param>
internal sealed class GuestBoot(string firmwareLog, string console)
{
    private static readonly TimeSpan StandstillLimit = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan MonitorTimeout = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);

    /// <summary>
    /// Whether nothing in the guest uses a disk: its firmware has not begun to look for disks, or it is done with them and the kernel has not started its first program,
    /// which loads the drivers.
    /// </summary>
    public bool IsApartFromDisks => Read(firmwareLog) is var firmware && firmware.Contains("Booting from", StringComparison.Ordinal)
        ? !Read(console).Contains("Run /init as init process", StringComparison.Ordinal)
        : !firmware.Contains("found virtio", StringComparison.Ordinal);

    /// <summary>Completes when the boot has written nothing for a minute at a point that is apart from the disks; never otherwise.</summary>
    public async Task StandstillAsync(CancellationToken cancellation)
    {
        long written = -1;
        long since = Stopwatch.GetTimestamp();
        while (!IsApartFromDisks || Stopwatch.GetElapsedTime(since) < StandstillLimit)
        {
            long now = Read(firmwareLog).Length + Read(console).Length;
            if (now != written || !IsApartFromDisks)
            {
                written = now;
                since = Stopwatch.GetTimestamp();
            }

            await Task.Delay(Interval, cancellation);
        }
    }

    /// <summary>
    /// The registers of the guest's CPUs; null if QEMU does not give them in time, for example because a CPU waits for a vhost-user server's reply and keeps QEMU's lock.
    /// </summary>
    public static async Task<string?> RegistersAsync(QmpClient qmp)
    {
        try
        {
            JsonNode? registers = await qmp.ExecuteAsync("human-monitor-command", new JsonObject { ["command-line"] = "info registers -a" }).WaitAsync(MonitorTimeout);
            return (string?)registers;
        }
        catch (Exception e) when (e is TimeoutException or EndToEndException or IOException)
        {
            return null;
        }
    }

    /// <summary>What both wrote, for the message of a failed test.</summary>
    public string Diagnose(string name) => $"--- firmware of {name}\n{ChildProcess.Tail(Read(firmwareLog), 4000)}\n--- console of {name}\n{ChildProcess.Tail(Read(console))}";

    private static string Read(string file)
    {
        if (!File.Exists(file))
        {
            return "";
        }

        using var reader = new StreamReader(new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        return reader.ReadToEnd();
    }
}
