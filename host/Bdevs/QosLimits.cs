namespace Vhost.Host.Bdevs;

/// <summary>What a bdev may do in a second, all its users together. 0 is no limit. Other operations than reads and writes have none.</summary>
/// <param name="ReadWriteIosPerSec">Reads and writes.</param>
/// <param name="ReadWriteMbytesPerSec">Bytes read and written, in MiB.</param>
/// <param name="ReadMbytesPerSec">Bytes read, in MiB.</param>
/// <param name="WriteMbytesPerSec">Bytes written, in MiB.</param>
public sealed record QosLimits(ulong ReadWriteIosPerSec = 0, ulong ReadWriteMbytesPerSec = 0, ulong ReadMbytesPerSec = 0, ulong WriteMbytesPerSec = 0)
{
    /// <summary>The greatest limit of bytes: beyond any memory's speed, and safe to multiply.</summary>
    public const ulong MaxMbytesPerSec = 1UL << 40;

    /// <summary>No limit at all.</summary>
    public static QosLimits None { get; } = new();

    /// <summary>Whether nothing is limited.</summary>
    public bool IsNone => this == None;
}
