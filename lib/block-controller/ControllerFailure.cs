namespace Vhost.BlockController;

/// <summary>A controller that failed, or that did not do what was asked; trying again may help.</summary>
/// <param name="message">Which controller, what failed.</param>
public class ControllerFailure(string message) : IOException(message)
{
    /// <summary>Whether another attempt to attach may help after a failure: a refusal stays one, and what nobody foresaw is a fault of the driver.</summary>
    /// <param name="failure">Why an attempt failed.</param>
    public static bool IsWorthAnotherAttempt(Exception failure) => failure is not ControllerRefusal and (IOException or InvalidOperationException);
}
