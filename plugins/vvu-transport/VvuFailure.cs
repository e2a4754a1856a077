namespace Vhost.Plugins.VvuTransport;

/// <summary>A vvu device that failed, or that did not do what was asked; trying again may help.</summary>
/// <param name="message">Which device, what failed.</param>
internal class VvuFailure(string message) : IOException(message);

/// <summary>A device that cannot be served at all; trying again does not help.</summary>
/// <param name="message">Which device, why, and what to do.</param>
internal sealed class VvuRefusal(string message) : VvuFailure(message);
