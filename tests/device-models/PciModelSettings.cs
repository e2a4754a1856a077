namespace Vhost.Testing.DeviceModels;

/// <summary>What each model offers.</summary>
public abstract class PciModelSettings
{
    public int Vectors { get; set; } = 8;

    /// <summary>Whether there is an INTx line; the driver is offered it where there are no vectors.</summary>
    public bool HasLine { get; set; }

    /// <summary>From the next rise on the line stays high, whatever the driver does.</summary>
    public bool HoldsLine { get; set; }

    /// <summary>Polls without rest, for measurements.</summary>
    public bool Spins { get; set; }
}
