using Vhost.Abstractions;

namespace RamDiskPlugin;

public sealed class RamDiskOptions
{
    public int SizeMiB { get; set; } = 64;
}

[ExportBdev("ramdisk")]
public sealed class RamDiskFactory : BdevFactory<RamDiskOptions>
{
    public override string Description => "A RAM disk: a sample of a plugin from elsewhere.";

    protected override void Validate(RamDiskOptions options, IOptionsErrors errors)
    {
        if (options.SizeMiB is < 1 or > 1024)
        {
            errors.Add("sizeMiB", $"{options.SizeMiB} is not between 1 and 1024");
        }
    }

    protected override IBdevSource Create(BdevSourceContext context, RamDiskOptions options) =>
        new SingleBdevSource(context, () => new RamDisk(context.Name, new byte[options.SizeMiB << 20]));
}

public sealed class RamDisk(string name, byte[] data) : SimpleBdev(name)
{
    public override BdevInfo Info { get; } = new()
    {
        BlockSizeBytes = 512,
        BlockCount = (ulong)data.LongLength / 512,
        ProductName = "RAM disk",
        Operations = BlockOperations.Read | BlockOperations.Write,
    };

    public override ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        data.AsSpan((int)offsetBytes, buffer.Length).CopyTo(buffer.Span);
        return ValueTask.CompletedTask;
    }

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken)
    {
        buffer.Span.CopyTo(data.AsSpan((int)offsetBytes));
        return ValueTask.CompletedTask;
    }
}
