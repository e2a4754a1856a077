namespace Vhost.Host.Wiring;

/// <summary>A part could not be started or added. The message names the part and says what failed; what had been started was undone.</summary>
/// <param name="message">Names the part.</param>
/// <param name="innerException">What it threw.</param>
public sealed class HostStartException(string message, Exception? innerException = null) : Exception(message, innerException);
