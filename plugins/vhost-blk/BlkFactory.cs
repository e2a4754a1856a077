using System.Numerics;
using Vhost.Abstractions;

namespace Vhost.Plugins.VhostBlk;

/// <summary>Makes blk controllers from the manifest.</summary>
[ExportDeviceType("blk")]
public sealed class BlkFactory : DeviceTypeFactory<BlkOptions>
{
    /// <inheritdoc/>
    public override string Description => "A virtio block device: one disk, many queues.";

    /// <inheritdoc/>
    protected override void Validate(BlkOptions options, IOptionsErrors errors)
    {
        if (options.Serial is { } serial && (serial.Length > BlkProtocol.IdBytes || serial.Any(character => character is < ' ' or > '~')))
        {
            errors.Add("serial", $"\"{serial}\" is not at most {BlkProtocol.IdBytes} printable ASCII characters");
        }

        if (options.Queues is < 1 or > BlkLimits.MaxQueues)
        {
            errors.Add("queues", $"{options.Queues} is not between 1 and {BlkLimits.MaxQueues}");
        }

        if (options.QueueSize is < BlkLimits.MinQueueSize or > BlkLimits.MaxQueueSize || !BitOperations.IsPow2(options.QueueSize))
        {
            errors.Add("queueSize", $"{options.QueueSize} is not a power of two from {BlkLimits.MinQueueSize} to {BlkLimits.MaxQueueSize}");
        }
    }

    /// <inheritdoc/>
    protected override IReadOnlyList<BdevReference> GetBdevReferences(BlkOptions options) => [new BdevReference("bdev", options.Bdev)];

    /// <inheritdoc/>
    protected override IVirtioDevice Create(DeviceContext context, BlkOptions options) =>
        new BlkDevice(context, options, context.GetBdev(options.Bdev));
}
