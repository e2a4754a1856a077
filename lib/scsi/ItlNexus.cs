using System.Numerics;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// An I_T_L nexus: one initiator's view of one logical unit through one target port. It lives as long as the logical unit is attached to the
/// target; sessions of the initiator come and go meanwhile.
/// </summary>
public sealed class ItlNexus
{
    private static uint s_last;

    // Unit attentions and conflicts in one word, so that the data path looks at one. Any thread changes it, atomically.
    private int _gate;

    internal ItlNexus(ScsiTarget target, ushort lun, LogicalUnit unit, IBdevPort port, ILogicalUnitListener? listener)
    {
        Target = target;
        Lun = lun;
        Unit = unit;
        Port = port;
        Listener = listener;
    }

    /// <summary>The target.</summary>
    public ScsiTarget Target { get; }

    /// <summary>The logical unit number: 0 to 16383.</summary>
    public ushort Lun { get; }

    /// <summary>The logical unit.</summary>
    public LogicalUnit Unit { get; }

    /// <summary>The bdev as this target was given it: what the target does is counted for its own controller.</summary>
    public IBdevPort Port { get; }

    internal ILogicalUnitListener? Listener { get; }

    /// <summary>A number that few others have.</summary>
    internal uint Number { get; } = Interlocked.Increment(ref s_last);

    /// <summary>The copy operations that were begun through this nexus.</summary>
    internal CopyStatusList Copies { get; } = new();

    /// <summary>Not 0 when a command must take the careful path.</summary>
    internal int Gate => Volatile.Read(ref _gate);

    internal Conflicts Conflicts => (Conflicts)Gate & Conflicts.All;

    internal bool HasUnitAttention => (Gate & (int)UnitAttentions.All) != 0;

    internal void Establish(UnitAttentions conditions) => Interlocked.Or(ref _gate, (int)conditions);

    internal void Clear(UnitAttentions conditions) => Interlocked.And(ref _gate, ~(int)conditions);

    internal void SetConflicts(Conflicts conflicts)
    {
        Interlocked.Or(ref _gate, (int)conflicts);
        Interlocked.And(ref _gate, (int)conflicts | ~(int)Conflicts.All);
    }

    /// <summary>Takes the first unit attention, so that no other command reports it.</summary>
    /// <returns>None if there is nothing to report.</returns>
    internal UnitAttentions TakeUnitAttention()
    {
        while (true)
        {
            var pending = Gate & (int)UnitAttentions.All;
            if (pending == 0)
            {
                return UnitAttentions.None;
            }

            var first = 1 << BitOperations.TrailingZeroCount(pending);
            if ((Interlocked.And(ref _gate, ~first) & first) != 0)
            {
                return (UnitAttentions)first;
            }
        }
    }

    internal static AdditionalSense Describe(UnitAttentions condition) => condition switch
    {
        UnitAttentions.BusDeviceReset => AdditionalSense.BusDeviceReset,
        UnitAttentions.NexusLoss => AdditionalSense.NexusLoss,
        UnitAttentions.ReportedLunsChanged => AdditionalSense.ReportedLunsChanged,
        UnitAttentions.InquiryDataChanged => AdditionalSense.InquiryDataChanged,
        UnitAttentions.CapacityChanged => AdditionalSense.CapacityChanged,
        UnitAttentions.ModeParametersChanged => AdditionalSense.ModeParametersChanged,
        UnitAttentions.ReservationsPreempted => AdditionalSense.ReservationsPreempted,
        UnitAttentions.ReservationsReleased => AdditionalSense.ReservationsReleased,
        UnitAttentions.RegistrationsPreempted => AdditionalSense.RegistrationsPreempted,
        UnitAttentions.LogParametersChanged => AdditionalSense.LogParametersChanged,
        _ => AdditionalSense.PowerOnOrReset,
    };
}
