using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.Null;

/// <summary>The manifest's section of a null bdev.</summary>
public sealed class NullOptions
{
    /// <summary>Size in MiB.</summary>
    [Required]
    [Range(1, 1 << 30)]
    [Description("Size in MiB.")]
    public int SizeMiB { get; set; }

    /// <summary>Logical block size in bytes.</summary>
    [Description("Logical block size in bytes: a power of two from 512 to 65536.")]
    public int BlockSize { get; set; } = 512;

    /// <summary>The bdev's UUID, or null for none.</summary>
    [Description("UUID that guests see, the same after each start. Without it there is none.")]
    public string? Uuid { get; set; }
}
