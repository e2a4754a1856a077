using System.Globalization;
using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Plugins.Nvme.Queues;

namespace Vhost.Plugins.Nvme;

/// <summary>A namespace as a bdev.</summary>
internal sealed class NvmeNamespace(
    string name, uint id, BdevInfo info, IReadOnlyList<IoQueuePair> pairs, Func<Dictionary<string, string>> describeController) : IChannelBdev, IDetailSource
{
    private BdevInfo _info = info;

    /// <inheritdoc/>
    public string Name { get; } = name;

    public uint Id { get; } = id;

    /// <inheritdoc/>
    public BdevInfo Info
    {
        get => Volatile.Read(ref _info);
        set => Volatile.Write(ref _info, value);
    }

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => new NvmeChannel(CommandQueue.Of(pairs, reactor), this, completions);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> GetDetails()
    {
        var details = describeController();
        details["namespace_id"] = Id.ToString(CultureInfo.InvariantCulture);
        return details;
    }
}
