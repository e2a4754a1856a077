namespace Vhost.Scsi;

/// <summary>The copy operations of one I_T_L nexus by list identifier: those under way, and some that have ended. Any thread.</summary>
internal sealed class CopyStatusList
{
    /// <summary>How many of one nexus may be under way at a time.</summary>
    public const int MaxUnderWay = 16;

    private const int MaxEnded = 16;

    private readonly Lock _lock = new();
    private readonly List<CopyStatus> _all = [];

    /// <summary>Begins an operation.</summary>
    /// <param name="listId">Its identifier.</param>
    /// <param name="isInUse">Whether it failed because an operation with that identifier is under way.</param>
    /// <returns>Null if there is one, or are too many.</returns>
    public CopyStatus? TryBegin(byte listId, out bool isInUse)
    {
        lock (_lock)
        {
            isInUse = _all.Exists(other => other.ListId == listId && other.IsUnderWay);
            if (isInUse || _all.Count(other => other.IsUnderWay) >= MaxUnderWay)
            {
                return null;
            }

            _all.RemoveAll(other => other.ListId == listId);
            var ended = _all.Count(other => !other.IsUnderWay);
            if (ended >= MaxEnded)
            {
                _all.Remove(_all.First(other => !other.IsUnderWay));
            }

            var status = new CopyStatus(listId);
            _all.Add(status);
            return status;
        }
    }

    /// <summary>The nexus was lost or the unit reset: nobody asks any more for what has ended (SPC-4, section 6.24).</summary>
    public void Forget()
    {
        lock (_lock)
        {
            _all.RemoveAll(status => !status.IsUnderWay);
        }
    }

    /// <summary>Finds an operation. One that has ended is forgotten once it was told of.</summary>
    public CopyStatus? Take(byte listId)
    {
        lock (_lock)
        {
            var status = _all.Find(other => other.ListId == listId);
            if (status is { IsUnderWay: false })
            {
                _all.Remove(status);
            }

            return status;
        }
    }
}
