using Microsoft.Extensions.Logging;
using Vhost.Host.Bdevs;
using Vhost.Host.Reactors;

namespace Vhost.Host.Wiring;

/// <summary>What every part is given something of.</summary>
/// <param name="Loggers">Makes loggers.</param>
/// <param name="Times">Time bounds.</param>
/// <param name="Reactors">The reactors, running.</param>
/// <param name="Bdevs">The bdevs.</param>
/// <param name="Memory">Guest memory.</param>
internal sealed record HostParts(ILoggerFactory Loggers, HostTimes Times, IReadOnlyList<Reactor> Reactors, BdevRegistry Bdevs, MemoryRegistry Memory)
{
    /// <summary>The reactors on the given CPUs; all for an empty list.</summary>
    /// <param name="cpuIndexes">CPUs.</param>
    /// <exception cref="HostStartException">One of the CPUs has no reactor.</exception>
    internal IReadOnlyList<Reactor> SelectReactors(IReadOnlyList<int> cpuIndexes)
    {
        if (cpuIndexes.Count == 0)
        {
            return Reactors;
        }

        return [.. cpuIndexes.Select(cpu => Reactors.FirstOrDefault(reactor => reactor.CpuIndex == cpu)
            ?? throw new HostStartException($"CPU {cpu} has no reactor; there are reactors on CPU {string.Join(", ", Reactors.Select(reactor => reactor.CpuIndex))}"))];
    }
}
