namespace Vhost.Scsi;

/// <summary>
/// A registered I_T nexus. It is known by the names of its ports, because a registration outlives the nexus (SPC-4, section 5.13.7).
/// </summary>
internal sealed class Registration(ReservationRecord.Entry entry)
{
    public ulong InitiatorNaa => entry.InitiatorNaa;

    public ulong PortNaa => entry.PortNaa;

    /// <summary>The port's identifier when the registration was made: another run of the process may number its ports otherwise.</summary>
    public ushort RelativePortId => entry.RelativePortId;

    public ulong Key { get; set; } = entry.Key;

    public bool IsOf(ItlNexus nexus) => nexus.Target.InitiatorNaa == InitiatorNaa && nexus.Target.PortNaa == PortNaa;

    public ReservationRecord.Entry ToEntry() => entry with { Key = Key };
}
