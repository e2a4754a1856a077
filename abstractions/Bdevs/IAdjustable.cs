namespace Vhost.Abstractions;

/// <summary>
/// What a bdev source, or the bdev of a <see cref="SingleBdevSource"/>, may offer: changed options without a restart. Called from control threads,
/// one call at a time, while requests run.
/// </summary>
public interface IAdjustable
{
    /// <summary>
    /// Takes over changed options as a whole or not at all: a grown size, for example. The same options again mean: look whether what is behind
    /// the bdev has changed. A source tells its publisher what changed; <see cref="SingleBdevSource"/> does it for its bdev.
    /// </summary>
    /// <param name="options">Bound and validated options, of the factory's options class.</param>
    /// <returns>False if the source has to be removed and added again for it; then nothing was changed.</returns>
    /// <exception cref="IOException">It should work and did not; the message says why. Nothing was changed.</exception>
    bool TryAdjust(object options);
}
