using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>
/// The peer refused a request, broke the protocol, or has gone. A device throws it from its callbacks to refuse a request with an errno.
/// </summary>
public sealed class VfioUserException : IOException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="error">A positive errno: what the peer answered, or is to be answered.</param>
    /// <param name="message">What was refused, and why.</param>
    /// <param name="inner">What lies beneath, or null.</param>
    public VfioUserException(int error, string message, Exception? inner = null)
        : base($"{message} ({Errno.Name(error)})", inner) => Error = error;

    /// <summary>A positive errno.</summary>
    public int Error { get; }
}
