namespace Vhost.Host.Bdevs;

/// <summary>Something that happened to a bdev, for programs that ask from time to time.</summary>
/// <param name="Id">Its number: they count from 0, in their order.</param>
/// <param name="Kind">One of <see cref="BdevNotifications.Kinds"/>.</param>
/// <param name="Bdev">The bdev.</param>
internal readonly record struct BdevNotification(ulong Id, string Kind, string Bdev);

/// <summary>The last comings and goings of bdevs. Any thread; bounded.</summary>
internal sealed class BdevNotifications
{
    /// <summary>How many are kept.</summary>
    internal const int Capacity = 1024;

    /// <summary>A bdev is there.</summary>
    internal const string Registered = "bdev_register";

    /// <summary>A bdev is gone.</summary>
    internal const string Unregistered = "bdev_unregister";

    private readonly Lock _lock = new();
    private readonly BdevNotification[] _ring = new BdevNotification[Capacity];
    private ulong _count;

    /// <summary>All kinds, as SPDK names them.</summary>
    internal static IReadOnlyList<string> Kinds { get; } = [Registered, Unregistered];

    /// <summary>Notes one.</summary>
    internal void Add(string kind, string bdev)
    {
        lock (_lock)
        {
            _ring[_count % Capacity] = new BdevNotification(_count, kind, bdev);
            _count++;
        }
    }

    /// <summary>Those from a number on, oldest first; what is not kept any more is passed over.</summary>
    /// <param name="first">The number.</param>
    /// <param name="max">How many at most.</param>
    internal IReadOnlyList<BdevNotification> Get(ulong first, ulong max)
    {
        lock (_lock)
        {
            var from = Math.Max(first, _count > Capacity ? _count - Capacity : 0);
            if (from >= _count)
            {
                return [];
            }

            var found = new BdevNotification[(int)Math.Min(_count - from, max)];
            for (var i = 0; i < found.Length; i++)
            {
                found[i] = _ring[(from + (ulong)i) % Capacity];
            }

            return found;
        }
    }
}
