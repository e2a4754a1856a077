using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.Delay;

/// <summary>The manifest's section of a delay bdev.</summary>
public sealed class DelayOptions
{
    private const double MaxMicroseconds = 3600e6;

    /// <summary>The bdev below.</summary>
    [Required]
    [Description("The bdev that is made slow.")]
    public string Bdev { get; set; } = "";

    /// <summary>Added to 99 of 100 reads.</summary>
    [Range(0, MaxMicroseconds)]
    [Description("Microseconds that are added to reads.")]
    public double ReadAverageUs { get; set; }

    /// <summary>Added to one of 100 reads.</summary>
    [Range(0, MaxMicroseconds)]
    [Description("Microseconds that are added to one read of 100 instead. Default: those of the others.")]
    public double? ReadP99Us { get; set; }

    /// <summary>Added to 99 of 100 writes.</summary>
    [Range(0, MaxMicroseconds)]
    [Description("Microseconds that are added to writes, also of zeroes, to discards and to compares.")]
    public double WriteAverageUs { get; set; }

    /// <summary>Added to one of 100 writes.</summary>
    [Range(0, MaxMicroseconds)]
    [Description("Microseconds that are added to one write of 100 instead. Default: those of the others.")]
    public double? WriteP99Us { get; set; }

    /// <summary>Added to 99 of 100 flushes.</summary>
    [Range(0, MaxMicroseconds)]
    [Description("Microseconds that are added to flushes.")]
    public double FlushAverageUs { get; set; }

    /// <summary>Added to one of 100 flushes.</summary>
    [Range(0, MaxMicroseconds)]
    [Description("Microseconds that are added to one flush of 100 instead. Default: those of the others.")]
    public double? FlushP99Us { get; set; }

    /// <summary>The sequence of choices.</summary>
    [Description("Begins the sequence that chooses the one of 100; the same number gives the same choices on each reactor.")]
    public int Seed { get; set; } = 1;
}
