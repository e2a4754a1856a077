using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Plugins.VirtioScsi.Queues;

namespace Vhost.Plugins.VirtioScsi;

/// <summary>A reactor's channel to a disk: all channels of a reactor share its request queue.</summary>
internal sealed class VirtioScsiChannel(RequestQueue queue, VirtioScsiDisk disk, IBdevCompletions completions) : QueueChannel(queue, completions)
{
    public VirtioScsiDisk Disk { get; } = disk;

    /// <inheritdoc/>
    public override BdevInfo Info => Disk.Info;
}
