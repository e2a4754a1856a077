namespace Vhost.Abstractions;

/// <summary>What a device may ask of the front-end that is connected. Any thread but no data path; never blocks.</summary>
public interface IFrontEnd
{
    /// <summary>The configuration space changed: the driver is notified where the link can carry that.</summary>
    void NotifyConfigChanged();

    /// <summary>A queue was stopped because its ring is invalid, or because no reactor runs it any more. The transport logs it and tells the front-end where the link can carry that.</summary>
    /// <param name="queueIndex">The queue.</param>
    /// <param name="reason">What was wrong with it.</param>
    void OnQueueBroken(int queueIndex, string reason);
}
