using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Plugins.Nvme.Protocol;
using Vhost.Plugins.Nvme.Queues;

namespace Vhost.Plugins.Nvme.Controller;

/// <summary>The controller's active namespaces as published bdevs. Controller thread only.</summary>
internal sealed class NamespaceSet(BdevSourceContext context, IReadOnlyList<IoQueuePair> pairs, Func<Dictionary<string, string>> describeController)
{
    private const int MaxNamespaces = 1024;
    private readonly PublishedBdevs<uint, NvmeNamespace> _published = new(context);
    private string? _warning;
    private int? _lifeUsedPercent;
    private int? _spareLeftPercent;
    private int? _temperatureCelsius;

    /// <summary>How many are published.</summary>
    public int Count => _published.Count;

    /// <summary>Makes what is published equal to what the controller has: adds, withdraws, tells of changes.</summary>
    public void Rescan(ControllerLife life, string address)
    {
        var found = new Dictionary<uint, NamespaceIdentity>();
        foreach (var id in ListActive(life))
        {
            life.Admin.ExecuteChecked(
                new NvmeCommand { Opcode = NvmeOpcode.Identify, NamespaceId = id, Dword10 = NvmeOpcode.IdentifyNamespace }, $"Identify Namespace {id}", usesBuffer: true);
            if (NamespaceIdentity.Decode(life.Admin.Buffer, out var refusal) is { } identity)
            {
                found[id] = identity;
            }
            else if (refusal is not null)
            {
                context.Logger.LogError(NvmeEvents.NamespaceRefused, "{Address}: namespace {Id} is not served: {Reason}", address, id, refusal);
            }
        }

        foreach (var bdev in _published.Bdevs)
        {
            // A new block size is a new disk: nobody who uses the old one could make sense of it.
            if (!found.TryGetValue(bdev.Id, out var identity) || identity.BlockSizeBytes != bdev.Info.BlockSizeBytes)
            {
                _published.Withdraw(bdev.Id, identity is null ? "the namespace is gone" : "the namespace was formatted with another block size");
            }
        }

        foreach (var (id, identity) in found)
        {
            var info = WithHealth(CreateInfo(identity, life.Identity, id));
            if (_published.Find(id) is not { } bdev)
            {
                _published.Publish(id, new NvmeNamespace($"{context.Name}n{id}", id, info, pairs, describeController));
            }
            else if (bdev.Info != info)
            {
                bdev.Info = info;
                _published.NotifyChanged(bdev);
            }
        }
    }

    /// <summary>Tells of the controller's health.</summary>
    /// <param name="health">What it says.</param>
    public void SetHealth(HealthLog health)
    {
        _warning = health.CriticalWarning == 0 ? null : health.DescribeWarnings();
        _lifeUsedPercent = health.UsedPercent;
        _spareLeftPercent = health.AvailableSparePercent;
        _temperatureCelsius = health.TemperatureCelsius;
        foreach (var bdev in _published.Bdevs)
        {
            var info = WithHealth(bdev.Info);
            if (bdev.Info != info)
            {
                bdev.Info = info;
                _published.NotifyChanged(bdev);
            }
        }
    }

    /// <summary>Withdraws all: the controller is going or gone.</summary>
    public void WithdrawAll(string reason) => _published.WithdrawAll(reason);

    private BdevInfo WithHealth(BdevInfo info) => info with { Warning = _warning, LifeUsedPercent = _lifeUsedPercent, SpareLeftPercent = _spareLeftPercent, TemperatureCelsius = _temperatureCelsius };

    private static List<uint> ListActive(ControllerLife life)
    {
        var ids = new List<uint>();
        var answer = life.Admin.Execute(
            new NvmeCommand { Opcode = NvmeOpcode.Identify, Dword10 = NvmeOpcode.IdentifyActiveNamespaces }, "Identify (active namespaces)", usesBuffer: true);
        if (answer.Status != 0)
        {
            // A controller of NVMe 1.0 has no such list: all ids up to NN are tried.
            for (uint id = 1; id <= Math.Min(life.Identity.NamespaceCount, MaxNamespaces); id++)
            {
                ids.Add(id);
            }

            return ids;
        }

        uint former = 0;
        for (var i = 0; i < MaxNamespaces; i++)
        {
            var id = BinaryPrimitives.ReadUInt32LittleEndian(life.Admin.Buffer[(4 * i)..]);
            // Ascending and ended by 0; anything else is not a list.
            if (id <= former || id >= 0xfffffffe)
            {
                break;
            }

            ids.Add(id);
            former = id;
        }

        return ids;
    }

    private static BdevInfo CreateInfo(NamespaceIdentity identity, ControllerIdentity controller, uint id) => new()
    {
        BlockSizeBytes = identity.BlockSizeBytes,
        BlockCount = identity.BlockCount,
        PhysicalBlockSizeBytes = identity.BlockSizeBytes,
        ProductName = "NVMe disk",
        SerialNumber = $"{controller.SerialNumber}-{id}",
        Uuid = identity.Uuid,
        IsReadOnly = identity.IsWriteProtected,
        HasVolatileWriteCache = controller.HasVolatileWriteCache,
        HasForceUnitAccess = true,
        DiscardReadsZeroes = identity.DiscardReadsZeroes,
        OptimalTransferBlocks = identity.OptimalTransferBlocks,
        DiscardGranularityBlocks = identity.DiscardGranularityBlocks,
        AtomicWriteBlocks = Math.Min(identity.AtomicWriteBlocks ?? controller.AtomicWriteBlocks, IoQueuePair.GetMaxAtomicBytes(controller) / identity.BlockSizeBytes),
        Operations = BlockOperations.Read | BlockOperations.Write | BlockOperations.Flush
            | (controller.HasDatasetManagement ? BlockOperations.Discard : 0)
            | (controller.HasWriteZeroes ? BlockOperations.WriteZeroes : 0)
            | (controller.HasCompare ? BlockOperations.Compare : 0),
    };
}
