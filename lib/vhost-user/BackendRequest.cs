namespace Vhost.VhostUser;

/// <summary>Requests of a back-end (vhost-user, "Back-end message types").</summary>
public enum BackendRequest : uint
{
    /// <summary>No request.</summary>
    None = 0,

    /// <summary>An IOTLB message.</summary>
    IotlbMessage = 1,

    /// <summary>The device configuration space has changed.</summary>
    ConfigChanged = 2,
}
