namespace Vhost.Plugins.VhostScsi;

/// <summary>An event for the driver (virtio 1.3, section 5.6.6.3).</summary>
/// <param name="Kind">What happened.</param>
/// <param name="Target">To which target.</param>
/// <param name="Reason">Why.</param>
internal readonly record struct ScsiEvent(uint Kind, byte Target, uint Reason)
{
    /// <summary>The feature without which the driver is not told.</summary>
    public ulong RequiredFeature => Kind == VirtioScsi.EventTransportReset ? VirtioScsi.FeatureHotplug : VirtioScsi.FeatureChange;
}
