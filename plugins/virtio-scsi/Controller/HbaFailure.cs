namespace Vhost.Plugins.VirtioScsi.Controller;

/// <summary>An HBA that failed, or that did not do what was asked; trying again may help.</summary>
/// <param name="message">Which HBA, what failed.</param>
internal class HbaFailure(string message) : IOException(message);

/// <summary>An HBA that cannot be served at all; trying again does not help.</summary>
/// <param name="message">Which HBA, why, and what to do.</param>
internal sealed class HbaRefusal(string message) : HbaFailure(message);
