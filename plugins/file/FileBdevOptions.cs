using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.File;

/// <summary>The manifest's section of a file bdev.</summary>
public sealed class FileBdevOptions
{
    /// <summary>The file.</summary>
    [Required]
    [Description("A regular file or a host block device: an absolute path, or one relative to the working directory.")]
    public string Path { get; set; } = "";

    /// <summary>Logical block size in bytes.</summary>
    [Description("Logical block size in bytes: a power of two from 512 to 65536.")]
    public int BlockSize { get; set; } = 512;

    /// <summary>The bdev's UUID, or null for none.</summary>
    [Description("UUID that guests see, the same after each start. Without it there is none.")]
    public string? Uuid { get; set; }

    /// <summary>Whether to refuse writes.</summary>
    [Description("Whether writes are refused. Several processes may then read the same file.")]
    public bool ReadOnly { get; set; }

    /// <summary>Whether to bypass the page cache.</summary>
    [Description("Whether to bypass the host's page cache (O_DIRECT).")]
    public bool Direct { get; set; }

    /// <summary>Whether to create a missing file.</summary>
    [Description("Whether to create the file, sparse and sizeMiB large, where it does not exist. An existing file is left as it is.")]
    public bool Create { get; set; }

    /// <summary>Size of a file to create.</summary>
    [Range(1, 1 << 30)]
    [Description("Size in MiB of the file if it has to be created; an existing file has its own.")]
    public int? SizeMiB { get; set; }

    /// <summary>Whether another vhostd may write to it as well.</summary>
    [Description("Whether another vhostd whose bdev says so too may open the file for writing: for the live migration of a guest between the two. Nothing but the migration then keeps two guests apart.")]
    public bool Migration { get; set; }

    /// <summary>How I/O is done.</summary>
    [AllowedValues("auto", "io_uring", "threads", ErrorMessage = "auto, io_uring or threads is expected")]
    [Description("How I/O is done: io_uring, threads that block, or auto: io_uring where the kernel allows it, else threads.")]
    public string IoEngine { get; set; } = "auto";
}
