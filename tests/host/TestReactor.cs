using Vhost.Host.Manifest;
using Vhost.Host.Reactors;
using Vhost.Linux;

namespace Vhost.Host.Tests;

/// <summary>Starts real reactors for tests.</summary>
internal static class TestReactor
{
    internal static async Task<Reactor> StartAsync(TestLog log, ReactorMode mode = ReactorMode.Adaptive, int id = 0, ReactorTuning? tuning = null)
    {
        var cpus = Scheduling.GetAllowedCpus();
        var reactor = new Reactor(id, cpus[id % cpus.Count], mode, log, tuning);
        await reactor.StartAsync();
        return reactor;
    }
}
