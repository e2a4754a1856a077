using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <content>Requests that are to end before their time.</content>
internal sealed unsafe partial class ChannelBinding
{
    /// <summary>Passes a wish to end a request early on.</summary>
    internal void Abort(BlockRequestPointer request)
    {
        if (request.Pointer->HostState == RequestState.Emulated)
        {
            AbortEmulated(request.Pointer);
            return;
        }

        AbortAtBdev(request);
    }

    /// <summary>Lets go of what limits hold back at bdevs below this one.</summary>
    internal void ReleaseHeldBelow()
    {
        if (_inner is null)
        {
            return;
        }

        _channel.EnterBdev();
        try
        {
            _inner.ReleaseHeld();
        }
        catch (Exception exception)
        {
            Attachment.Quarantine("it failed to let go of what it holds", exception);
        }
        finally
        {
            _channel.LeaveBdev();
        }

        _channel.DeferOnce();
    }

    private void AbortAtBdev(BlockRequestPointer request)
    {
        if (_inner is null)
        {
            return;
        }

        _channel.EnterBdev();
        try
        {
            _inner.Abort(request);
        }
        catch (Exception exception)
        {
            Attachment.Quarantine("it failed to abort a request", exception);
        }
        finally
        {
            _channel.LeaveBdev();
        }

        _channel.DeferOnce();
    }
}
