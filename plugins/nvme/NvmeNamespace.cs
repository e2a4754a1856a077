using System.Globalization;
using Vhost.Abstractions;
using Vhost.Plugins.Nvme.Queues;

namespace Vhost.Plugins.Nvme;

/// <summary>A namespace as a bdev.</summary>
internal sealed class NvmeNamespace(
    string name, uint namespaceId, BdevInfo info, IReadOnlyList<IoQueuePair> pairs, Func<Dictionary<string, string>> describeController) : IChannelBdev, IDetailSource
{
    private BdevInfo _info = info;

    /// <inheritdoc/>
    public string Name { get; } = name;

    /// <inheritdoc/>
    public BdevInfo Info
    {
        get => Volatile.Read(ref _info);
        set => Volatile.Write(ref _info, value);
    }

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions)
    {
        foreach (var pair in pairs)
        {
            if (ReferenceEquals(pair.Reactor, reactor))
            {
                return new NvmeChannel(pair, namespaceId, Info.BlockSizeBytes, completions);
            }
        }

        throw new ArgumentException($"reactor {reactor.Id} is not one of those that the source was given", nameof(reactor));
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> GetDetails()
    {
        var details = describeController();
        details["namespace_id"] = namespaceId.ToString(CultureInfo.InvariantCulture);
        return details;
    }
}
