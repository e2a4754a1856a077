using Vhost.Linux;
using Vhost.Plugins.Null;

namespace Vhost.Bench;

/// <content>
/// Two reactors against one. The drivers run on the reactors themselves, so that no CPU is needed for a client: two CPUs show it where they are two cores.
/// </content>
internal sealed partial class Comparison
{
    private const long RequestsPerSecondEstimate = 5_000_000;
    private const string PathName = "in one process, driver on the reactor";

    private void RunReactors()
    {
        if (!IsWanted("reactors"))
        {
            return;
        }

        var count = Math.Max(10_000, (long)(RequestsPerSecondEstimate * _options.Seconds));
        if (Scheduling.GetAllowedCpus().Count < 2)
        {
            return;
        }

        int[] both = [_options.ServerCpu, _options.ClientCpu];
        Compare(
            $"two reactors, two controllers, {PathName}",
            () => Measure(null, () => RunPaths(count, [both[0]], [both[1]])),
            "one reactor",
            () => Measure(null, () => RunPaths(count, [both[0]])),
            new Goal(GoalKind.RatioAtLeast, TwoToOne));
        Compare(
            $"one controller, its two queues on two reactors, {PathName}",
            () => Measure(null, () => RunPaths(count, both)),
            "one reactor",
            () => Measure(null, () => RunPaths(count, [both[0]])),
            new Goal(GoalKind.RatioAtLeast, TwoToOne));

        // The ceiling: what the CPUs give two threads that share nothing at all.
        Compare(
            "two bare loops, each in memory of its own",
            () => Measure(null, () => new Sample(BareLoop.Run(_options.Seconds, both), null, null)),
            "one",
            () => Measure(null, () => new Sample(BareLoop.Run(_options.Seconds, both[0]), null, null)));
    }

    /// <summary>Runs controllers beside each other, each with a queue on each of its CPUs.</summary>
    private static Sample RunPaths(long requests, params int[][] controllers)
    {
        async Task<double> RunAsync()
        {
            var paths = await Task.WhenAll(controllers.Select(cpus => ProductPath.StartAsync(new PathOptions
            {
                Factory = new NullFactory(),
                BdevOptions = new NullOptions { SizeMiB = 1024 },
                Cpus = cpus,
            }))).ConfigureAwait(false);
            try
            {
                // The compiler takes the path up in the first of these.
                await Task.WhenAll(paths.Select(path => path.RunAsync(requests / 4))).ConfigureAwait(false);
                var counts = await Task.WhenAll(paths.Select(path => path.RunAsync(requests))).ConfigureAwait(false);
                return counts.Sum(count => count.Rate);
            }
            finally
            {
                foreach (var path in paths)
                {
                    await path.DisposeAsync().ConfigureAwait(false);
                }
            }
        }

        return new Sample(RunAsync().GetAwaiter().GetResult(), null, null);
    }
}
