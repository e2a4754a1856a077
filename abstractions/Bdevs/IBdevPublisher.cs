namespace Vhost.Abstractions;

/// <summary>How a source makes its bdevs known. Any control thread.</summary>
public interface IBdevPublisher
{
    /// <summary>Publishes a bdev; controllers that refer to its name attach it.</summary>
    /// <param name="bdev">The bdev; its name is one that the source declared.</param>
    /// <exception cref="InvalidOperationException">The name is taken, or was not declared, or the <see cref="BdevInfo"/> is impossible.</exception>
    void Publish(IBdev bdev);

    /// <summary>
    /// Withdraws a bdev that is going away. New requests fail with <see cref="BlockStatus.NoDevice"/> from now on. Completes when all
    /// requests under way were completed and all channels closed, or when the host gave up on them.
    /// </summary>
    /// <param name="name">The bdev's name.</param>
    /// <param name="reason">Why, for the log.</param>
    ValueTask WithdrawAsync(string name, string reason);

    /// <summary>The bdev's <see cref="IBdev.Info"/> changed: its size, for instance. Guests are told where their device can.</summary>
    /// <param name="name">The bdev's name.</param>
    void NotifyChanged(string name);
}
