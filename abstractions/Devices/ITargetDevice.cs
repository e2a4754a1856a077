namespace Vhost.Abstractions;

/// <summary>
/// An optional interface of devices whose bdevs sit at numbered targets that come and go while the device runs (virtio 1.3, section 5.6: SCSI
/// host). Control threads only, one call at a time for a device; the driver is told of each change.
/// </summary>
public interface ITargetDevice
{
    /// <summary>One more than the greatest target number.</summary>
    int TargetCount { get; }

    /// <summary>Adds a target with one bdev.</summary>
    /// <param name="targetNumber">Its number, from 0, below <see cref="TargetCount"/>.</param>
    /// <param name="bdev">Its bdev, there already or not.</param>
    /// <exception cref="ArgumentException">The number is not possible or is in use, or the bdev cannot be used; the message says why.</exception>
    /// <exception cref="InvalidOperationException">A target of that number is still being removed.</exception>
    void AddTarget(int targetNumber, IBdevPort bdev);

    /// <summary>
    /// Removes a target: from now on the driver's requests to it fail. Completes when no request uses its bdev any more. Where the token is
    /// cancelled first, the target stays removed, and its number stays in use until the last request is back.
    /// </summary>
    /// <param name="targetNumber">Its number.</param>
    /// <param name="cancellationToken">Bounds the wait.</param>
    /// <returns>False if there is no such target.</returns>
    ValueTask<bool> RemoveTargetAsync(int targetNumber, CancellationToken cancellationToken);
}
