namespace Vhost.Plugins.Nvme.Controller;

/// <summary>A controller that failed, or that did not do what was asked; trying again may help.</summary>
/// <param name="message">Which controller, what failed.</param>
internal class NvmeFailure(string message) : IOException(message);

/// <summary>A controller that cannot be served at all; trying again does not help.</summary>
/// <param name="message">Which controller, why, and what to do.</param>
internal sealed class NvmeRefusal(string message) : NvmeFailure(message);
