namespace Vhost.Testing.FrontEnd;

/// <summary>A back-end did not do what the front-end asked.</summary>
public sealed class FrontEndException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What happened.</param>
    /// <param name="isClosed">Whether the back-end closed the link.</param>
    public FrontEndException(string message, bool isClosed = false)
        : base(message) => IsClosed = isClosed;

    /// <summary>Whether the back-end closed the link.</summary>
    public bool IsClosed { get; }
}
