namespace Vhost.Pci;

/// <summary>A PCI device, or the platform under it, refused something. The message names the device, what was refused, and the remedy.</summary>
public sealed class PciException : IOException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">The device, what was refused, and the remedy.</param>
    /// <param name="inner">What lies beneath, or null.</param>
    public PciException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
