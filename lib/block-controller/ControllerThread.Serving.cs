using Microsoft.Extensions.Logging;
using Vhost.Abstractions;

namespace Vhost.BlockController;

/// <summary>What happens while the controller is up, and how it goes down.</summary>
public abstract partial class ControllerThread
{
    private const int ResetAttempts = 3;

    /// <summary>Has a reactor do something with its queue.</summary>
    /// <param name="index">The queue.</param>
    /// <param name="action">What.</param>
    /// <exception cref="ControllerFailure">
    /// The reactor did not within the bound. It cannot be done for it: the driver gives the controller up rather than touch the reactor's state.
    /// </exception>
    protected void OnReactor(int index, Action<CommandQueue> action)
    {
        var queue = Queues[index];
        if (!queue.Reactor.InvokeAsync(() => action(queue)).Wait(ReactorTimeout))
        {
            throw new ControllerFailure($"{Address}: reactor {queue.Reactor.Id} did not respond within {ReactorTimeout.TotalSeconds} s");
        }
    }

    /// <summary>Has each reactor do something with its queue, one after the other.</summary>
    /// <param name="action">What.</param>
    /// <exception cref="ControllerFailure">As <see cref="OnReactor"/>.</exception>
    protected void OnReactors(Action<CommandQueue> action)
    {
        for (var i = 0; i < Queues.Count; i++)
        {
            OnReactor(i, action);
        }
    }

    // Serves until the driver is stopped or the device gone. A failure on the way leads to a reset; resets that fail lead out.
    private void Serve()
    {
        while (!_stop.IsCancellationRequested && !Device!.Removed.IsCancellationRequested)
        {
            try
            {
                ServeOnce();
            }
            catch (IOException failure)
            {
                RequestReset(failure.Message);
            }

            if (Interlocked.Exchange(ref _resetReason, null) is { } reason && !Device.Removed.IsCancellationRequested && !TryReset(reason))
            {
                return;
            }
        }
    }

    private bool TryReset(string reason)
    {
        Log.LogError(BlockControllerEvents.ControllerReset, "{Address}: resetting the {Noun}: {Reason}", Address, _settings.Noun, reason);
        _wasReset = true;
        for (var attempt = 1; attempt <= ResetAttempts && !_stop.IsCancellationRequested && !Device!.Removed.IsCancellationRequested; attempt++)
        {
            // At each attempt: the one before may have got as far as to start queues.
            OnReactors(static queue => queue.Freeze());
            try
            {
                StopDma();
                // The controller has stopped: what was outstanding has no effect on memory any more, and its outcome is unknown.
                OnReactors(static queue => queue.FailOutstanding(BlockStatus.TimedOut));
                ForgetRequests();
                EndLife();
                StartLife(Device, _stop.Token);
                Log.LogWarning(BlockControllerEvents.ControllerBack, "{Address}: the {Noun} is back after a reset", Address, _settings.Noun);
                return true;
            }
            catch (ControllerRefusal refusal)
            {
                Log.LogError(BlockControllerEvents.ControllerUnusable, "{Address}: the {Noun} cannot be used after its reset: {Error}", Address, _settings.Noun, refusal.Message);
                return false;
            }
            catch (IOException failure)
            {
                Log.LogError(BlockControllerEvents.ControllerResetFailed, "{Address}: reset attempt {Attempt} of {Attempts} failed: {Error}", Address, attempt, ResetAttempts, failure.Message);
            }
        }

        return false;
    }

    // Ends all DMA of the device: by its own registers, else by a function reset, else by taking bus mastering away.
    private void StopDma()
    {
        try
        {
            StopController();
        }
        catch (IOException failure)
        {
            Log.LogWarning(BlockControllerEvents.FunctionReset, "{Error}; resetting the function", failure.Message);
            if (!Device!.TryReset())
            {
                Device.SetBusMastering(false);
                throw;
            }
        }
    }

    private void Detach(BlockStatus status, string reason, bool orderly = false)
    {
        WithdrawAll(reason);
        try
        {
            if (Device is { Removed.IsCancellationRequested: false })
            {
                if (orderly)
                {
                    ShutDown();
                }

                StopDma();
            }
        }
        catch (IOException failure)
        {
            Log.LogError(BlockControllerEvents.BusMasteringTaken, "{Error}; bus mastering was taken away", failure.Message);
        }

        // While a re-attach is possible, requests that come in the meantime fail at once: the bdevs are withdrawn anyway.
        OnReactors(queue =>
        {
            queue.Kill(status);
            queue.Unregister();
        });
        ReleaseDevice();
    }

    private void ReleaseDevice()
    {
        _memory?.Dispose();
        _memory = null;
        EndLife();
        Device?.Dispose();
        Device = null;
        ForgetInterrupts();
    }
}
