using System.Numerics;
using Vhost.Abstractions;

namespace Vhost.Plugins.Null;

/// <summary>Makes <see cref="NullBdev"/>s from the manifest.</summary>
[ExportBdev("null")]
public sealed class NullFactory : BdevFactory<NullOptions>
{
    /// <inheritdoc/>
    public override string Description => "Stores nothing and completes at once; a read leaves the guest's buffer as it was.";

    /// <inheritdoc/>
    protected override void Validate(NullOptions options, IOptionsErrors errors)
    {
        if (options.SizeMiB is < 1 or > 1 << 30)
        {
            errors.Add("sizeMiB", $"{options.SizeMiB} is not between 1 and {1 << 30}");
        }

        if (!BitOperations.IsPow2(options.BlockSize) || options.BlockSize is < 512 or > 65536)
        {
            errors.Add("blockSize", $"{options.BlockSize} is not a power of two from 512 to 65536");
        }

        if (options.Uuid is not null && !Guid.TryParse(options.Uuid, out _))
        {
            errors.Add("uuid", $"{options.Uuid} is not a UUID such as 5f0c5ab5-9f0a-4b58-8f4f-6f1d9e3f2f10");
        }
    }

    /// <inheritdoc/>
    protected override IBdevSource Create(BdevSourceContext context, NullOptions options) =>
        new SingleBdevSource(context, () => new NullBdev(context.Name, options));
}
