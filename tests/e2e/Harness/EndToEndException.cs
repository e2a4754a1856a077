namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>A real part did not do what a test needs; the message holds what it said.</summary>
public sealed class EndToEndException : Exception
{
    /// <summary>Creates the exception.</summary>
    public EndToEndException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception with its cause.</summary>
    public EndToEndException(string message, Exception? innerException)
        : base(message, innerException)
    {
    }
}
