namespace Vhost.Scsi;

/// <summary>
/// A registered I_T nexus. It is known by the names of its ports, because a registration outlives the nexus (SPC-4, section 5.13.7).
/// </summary>
internal sealed class Registration(ulong initiatorNaa, ulong portNaa, ushort relativePortId, ulong key)
{
    public ulong InitiatorNaa => initiatorNaa;

    public ushort RelativePortId => relativePortId;

    public ulong Key { get; set; } = key;

    public bool IsOf(ItlNexus nexus) => nexus.Target.InitiatorNaa == initiatorNaa && nexus.Target.PortNaa == portNaa;
}
