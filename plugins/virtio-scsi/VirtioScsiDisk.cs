using System.Globalization;
using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Plugins.VirtioScsi.Queues;
using Vhost.Plugins.VirtioScsi.Scsi;

namespace Vhost.Plugins.VirtioScsi;

/// <summary>A logical unit behind the HBA as a bdev.</summary>
internal sealed class VirtioScsiDisk(
    string name, LogicalUnit unit, DiskIdentity identity, IReadOnlyList<RequestQueue> queues, Func<Dictionary<string, string>> describeHba) : IChannelBdev, IDetailSource
{
    private DiskIdentity _identity = identity;

    /// <inheritdoc/>
    public string Name { get; } = name;

    public LogicalUnit Unit { get; } = unit;

    /// <summary>What the disk told of itself last. A new block size is a new disk, so that one never changes.</summary>
    public DiskIdentity Identity
    {
        get => Volatile.Read(ref _identity);
        set => Volatile.Write(ref _identity, value);
    }

    public uint BlockSizeBytes { get; } = identity.Info.BlockSizeBytes;

    /// <inheritdoc/>
    public BdevInfo Info => Identity.Info;

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new VirtioScsiChannel(CommandQueue.Of(queues, reactor), this, completions);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> GetDetails()
    {
        var details = describeHba();
        details["target"] = Unit.Target.ToString(CultureInfo.InvariantCulture);
        details["lun"] = Unit.Lun.ToString(CultureInfo.InvariantCulture);
        return details;
    }
}
