namespace Vhost.VhostUser;

/// <summary>A region of a session's memory.</summary>
/// <param name="Description">What the front-end says about it.</param>
/// <param name="Mapped">Its mapping.</param>
/// <param name="Registration">Its place in the memory registry.</param>
internal sealed record SessionRegion(RegionDescription Description, IMappedRegion Mapped, IDisposable Registration)
{
    /// <summary>Withdraws and unmaps it.</summary>
    internal void Release()
    {
        // Observers unmap it from their devices before the process does.
        Registration.Dispose();
        Mapped.Dispose();
    }
}
