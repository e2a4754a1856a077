using System.Net;
using System.Net.Sockets;

namespace Vhost.Bench;

/// <content>
/// What metrics cost. The difference is far smaller than what moves single runs, so each run is divided by the one beside it, and only pairs of one class of
/// machine count; and scrapes are measured at a rate far above anybody's, and their cost taken down to Prometheus's usual interval.
/// </content>
internal sealed partial class Comparison
{
    private const double ScrapesPerSecond = 10;
    private const double UsualScrapeIntervalSeconds = 15;

    private void RunMetrics()
    {
        if (!IsWanted("metrics"))
        {
            return;
        }

        var address = FindAddress();
        using var plain = StartVhostd(new VhostdManifest { CpuMask = Mask }.Null("disk").Blk("blk", "disk"));
        using var observed = StartVhostd(new VhostdManifest { CpuMask = Mask, Metrics = address }.Null("disk").Blk("blk", "disk"));
        var load = Load(32) with { Seconds = _options.Seconds / 2, WarmUpSeconds = _options.WarmUpSeconds / 4 };
        using var scraper = new Scraper(new Uri($"http://{address}/metrics"));
        foreach (var server in new[] { plain, observed })
        {
            server.Process.Resume();
        }

        RunLoad(load with { Socket = plain.Socket("blk") });
        RunLoad(load with { Socket = observed.Socket("blk") });
        scraper.Scrape(_options.WarmUpScrapes);
        plain.Process.Pause();
        observed.Process.Pause();

        var off = new List<Sample>();
        var unscraped = new List<Sample>();
        var scraped = new List<Sample>();
        for (var pair = 0; pair < _options.Rounds * _options.MetricsPairsPerRound; pair++)
        {
            Action[] runs =
            [
                () => off.Add(Measure(plain.Process, () => RunLoad(load with { Socket = plain.Socket("blk") }))),
                () => unscraped.Add(Measure(observed.Process, () => RunLoad(load with { Socket = observed.Socket("blk") }))),
                () => scraped.Add(Measure(observed.Process, () => scraper.Beside(ScrapesPerSecond, () => RunLoad(load with { Socket = observed.Socket("blk") })))),
            ];

            // The order changes, so that what drifts meets all.
            foreach (var run in pair % 2 == 0 ? runs : runs.Reverse())
            {
                run();
            }
        }

        const string Name = "metrics: blk, null, 4 KiB read, QD32";
        AddPairs($"{Name}, on and not scraped", unscraped, off, new Goal(GoalKind.RatioAtLeast, 0.98));
        var ratio = AddPairs($"{Name}, scraped {ScrapesPerSecond} times a second", scraped, unscraped, default);
        Add(new ComparisonRow
        {
            Name = $"metrics: what a scrape every {UsualScrapeIntervalSeconds} s costs of the rate, by that",
            Unit = "%",
            Value = Math.Max(0, (1 - ratio) * 100 / (ScrapesPerSecond * UsualScrapeIntervalSeconds)),
            Goal = new Goal(GoalKind.ValueAtMost, 2),
        });
    }

    /// <summary>Adds a line whose ratio is the median of those of runs beside each other.</summary>
    /// <returns>That ratio; of all pairs where none was of one class.</returns>
    private double AddPairs(string name, List<Sample> ours, List<Sample> theirs, Goal goal)
    {
        var pairs = ours.Zip(theirs).ToList();
        var ofOneClass = pairs.Where(pair => pair.First.Class is not null && pair.First.Class == pair.Second.Class).ToList();
        var counted = ofOneClass.Count > 0 ? ofOneClass : pairs;
        double[] ratios = [.. counted.Select(pair => pair.First.Value / pair.Second.Value).Order()];
        var ratio = SampleSet.Median(ratios);
        Add(new ComparisonRow
        {
            Name = name,
            Unit = "k/s",
            Value = SampleSet.Median([.. counted.Select(pair => pair.First.Value)]) / 1e3,
            Reference = SampleSet.Median([.. counted.Select(pair => pair.Second.Value)]) / 1e3,
            ReferenceName = "run beside it without",
            PairedRatio = ratio,
            Goal = goal,
            Runs = FormattableString.Invariant($"{counted.Count} pairs of {pairs.Count}; half of their ratios in {ratios[ratios.Length / 4]:0.000} to {ratios[ratios.Length * 3 / 4]:0.000}"),
        });
        return ratio;
    }

    private static string FindAddress()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return socket.LocalEndPoint!.ToString()!;
    }
}
