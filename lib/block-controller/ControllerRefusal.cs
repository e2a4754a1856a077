namespace Vhost.BlockController;

/// <summary>A controller that cannot be served at all; trying again does not help.</summary>
/// <param name="message">Which controller, why, and what to do.</param>
public sealed class ControllerRefusal(string message) : ControllerFailure(message);
