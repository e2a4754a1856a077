namespace Vhost.VhostUser;

/// <summary>One of a ring's areas.</summary>
/// <param name="Name">Names it in messages.</param>
/// <param name="LengthBytes">Its length.</param>
/// <param name="Alignment">Its alignment, a power of two.</param>
internal readonly record struct RingArea(string Name, ulong LengthBytes, ulong Alignment);
