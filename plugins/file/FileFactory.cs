using System.Numerics;
using Vhost.Abstractions;

namespace Vhost.Plugins.File;

/// <summary>Makes sources of <see cref="FileBdev"/>s from the manifest.</summary>
[ExportBdev("file")]
public sealed class FileFactory : BdevFactory<FileBdevOptions>
{
    /// <inheritdoc/>
    public override string Description => "Keeps its blocks in a file or on a host block device, durably.";

    /// <inheritdoc/>
    protected override void Validate(FileBdevOptions options, IOptionsErrors errors)
    {
        if (string.IsNullOrWhiteSpace(options.Path) || options.Path.Contains('\0'))
        {
            errors.Add("path", "the path of a file or a block device is missing");
        }

        if (!BitOperations.IsPow2(options.BlockSize) || options.BlockSize is < 512 or > 65536)
        {
            errors.Add("blockSize", $"{options.BlockSize} is not a power of two from 512 to 65536");
        }

        if (options.Uuid is not null && !Guid.TryParse(options.Uuid, out _))
        {
            errors.Add("uuid", $"{options.Uuid} is not a UUID such as 5f0c5ab5-9f0a-4b58-8f4f-6f1d9e3f2f10");
        }

        if (options.SizeMiB is < 1 or > 1 << 30)
        {
            errors.Add("sizeMiB", $"{options.SizeMiB} is not between 1 and {1 << 30}");
        }

        if (options.Create && options.SizeMiB is null)
        {
            errors.Add("sizeMiB", "create needs the size of the new file");
        }

        if (!options.Create && options.SizeMiB is not null)
        {
            errors.Add("sizeMiB", "the size is that of the file; sizeMiB belongs to \"create\": true");
        }

        if (options.IoEngine is not ("auto" or "io_uring" or "threads"))
        {
            errors.Add("ioEngine", $"{options.IoEngine} is none of auto, io_uring, threads");
        }
    }

    /// <inheritdoc/>
    protected override IBdevSource Create(BdevSourceContext context, FileBdevOptions options) => new FileSource(context, options);
}
