using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>What a queue writes for others to see besides its ring: the in-flight area and the dirty log.</summary>
public abstract unsafe partial class Virtqueue
{
    private protected bool _isTracked;

    private protected void TrackTaken(VirtioRequest* request)
    {
    }

    private protected void TrackUsed(VirtioRequest** completed, int count)
    {
    }

    private protected void TrackPublished(VirtioRequest** completed, int count, VirtqueueState state)
    {
    }

    private protected void MoveTracking(VirtqueueAddresses addresses)
    {
    }

    private void ResubmitInFlight()
    {
    }
}
