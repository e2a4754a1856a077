using Vhost.Abstractions;
using Vhost.Host.Manifest;

namespace Vhost.Host.Wiring;

/// <content>Changes of parts that go on meanwhile.</content>
public sealed partial class VhostHost
{
    /// <summary>Lets a bdev source take over changed options while it runs. Bounded in time.</summary>
    /// <param name="changed">The source as it is to be, bound and checked.</param>
    /// <returns>False if there is none, or it has to be removed and added again for it; then nothing was changed.</returns>
    /// <exception cref="InvalidOperationException">It should work and did not; the message says why.</exception>
    public async Task<bool> TryAdjustBdevSourceAsync(BoundBdevSource changed)
    {
        ArgumentNullException.ThrowIfNull(changed);
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            RunningBdevSource? running;
            lock (_listLock)
            {
                running = _sources.Find(source => source.Bound.Name == changed.Name);
            }

            return running is not null && await running.TryAdjustAsync(changed).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Sets how a running controller's interrupts are coalesced.</summary>
    /// <param name="changed">The controller as it is to be, bound and checked.</param>
    /// <exception cref="InvalidOperationException">There is no such controller, or its device cannot.</exception>
    public async Task SetCoalescingAsync(BoundController changed)
    {
        ArgumentNullException.ThrowIfNull(changed);
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            GetController(changed.Name).SetCoalescing(changed);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Lets a running controller's queues run on other reactors. Bounded in time.</summary>
    /// <param name="changed">The controller as it is to be, bound and checked.</param>
    /// <exception cref="InvalidOperationException">There is no such controller, or its device cannot.</exception>
    /// <exception cref="HostStartException">One of the CPUs has no reactor.</exception>
    /// <exception cref="TimeoutException">Requests under way do not end: some queues stay where they are.</exception>
    public async Task MoveControllerAsync(BoundController changed)
    {
        ArgumentNullException.ThrowIfNull(changed);
        var reactors = GetParts().SelectReactors(changed.CpuIndexes);
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            await GetController(changed.Name).MoveAsync(changed, [.. reactors.Cast<IReactor>()]).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }
}
