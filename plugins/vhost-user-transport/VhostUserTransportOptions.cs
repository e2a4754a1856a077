using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>The manifest's section of a vhost-user transport.</summary>
public sealed class VhostUserTransportOptions
{
    /// <summary>Path of the unix socket.</summary>
    [Required]
    [Description("Path of the unix socket that the VM's chardev connects to; at most 107 bytes. Its directory must exist.")]
    public string Socket { get; set; } = "";

    /// <summary>Permission bits of the socket, in octal.</summary>
    [Description("Permission bits of the socket, in octal. Whoever may write to the socket may use the disk.")]
    public string Mode { get; set; } = "0600";

    /// <summary>Owner of the socket: a user's name or number; empty for the user that runs the host.</summary>
    [Description("Owner of the socket: a user's name or number. Without it the user that runs vhostd.")]
    public string? Owner { get; set; }

    /// <summary>Group of the socket: a group's name or number.</summary>
    [Description("Group of the socket: a group's name or number. Without it the group that runs vhostd.")]
    public string? Group { get; set; }
}
