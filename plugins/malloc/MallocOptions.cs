using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.Malloc;

/// <summary>The manifest's section of a malloc bdev.</summary>
public sealed class MallocOptions
{
    /// <summary>Size in MiB.</summary>
    [Required]
    [Range(1, 1 << 30)]
    [Description("Size in MiB. Memory is taken when it is first written, or at start where hugetlb pages are free.")]
    public int SizeMiB { get; set; }

    /// <summary>Logical block size in bytes.</summary>
    [Description("Logical block size in bytes: a power of two from 512 to 65536.")]
    public int BlockSize { get; set; } = 512;

    /// <summary>Stable identity.</summary>
    [Description("UUID that guests see, the same after each start. Without it there is none.")]
    public string? Uuid { get; set; }
}
