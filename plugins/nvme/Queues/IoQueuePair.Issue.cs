using System.Runtime.CompilerServices;
using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>How the pair makes commands out of requests.</summary>
internal sealed unsafe partial class IoQueuePair
{
    private const ulong MaxBlocksPerCommand = 65536;
    private const ulong MaxBlocksPerRange = uint.MaxValue;

    /// <summary>The greatest write that is one command wherever its data lie: what a command moves, and what a bounce buffer holds.</summary>
    /// <param name="identity">The controller.</param>
    public static uint GetMaxAtomicBytes(ControllerIdentity identity) => (uint)nuint.Min(BounceBuffers.BufferBytes, nuint.Min(DataMapper.MaxTransferBytes, identity.MaxTransferBytes));

    /// <inheritdoc/>
    [SkipLocalsInit]
    protected override void Pump()
    {
        var ring = _ring;
        if (ring is null || State != QueueState.Running)
        {
            return;
        }

        // Where it stops before a slot is missing, a bounce buffer is: one comes back with the next bounced completion.
        while (FirstPending != null && HasFreeSlot && TryIssue(ring, FirstPending))
        {
        }

        ring.AnnounceSubmissions();
    }

    private bool TryIssue(NvmeRing ring, BlockRequest* request)
    {
        ref var progress = ref RequestProgress.Of(request);
        var channel = (NvmeChannel)ChannelOf(request);
        ref var slot = ref Prepare(out var id);
        slot.BlockOffset = progress.BlocksIssued;
        var startBlock = request->StartBlock + progress.BlocksIssued;
        var blocksLeft = request->BlockCount - progress.BlocksIssued;
        var command = new NvmeCommand { NamespaceId = channel.NamespaceId, CommandId = (ushort)id };
        ulong blocks;
        switch (request->Operation)
        {
            case BlockOperation.Flush:
                command.Opcode = NvmeOpcode.Flush;
                blocks = 0;
                break;
            case BlockOperation.Discard:
                blocks = Math.Min(blocksLeft, MaxBlocksPerRange);
                command.Opcode = NvmeOpcode.DatasetManagement;
                command.Dword11 = NvmeOpcode.DatasetDeallocate;
                var range = (ulong*)_memory!.Lists.Page(id, out var rangeIova);
                range[0] = blocks << 32; // context attributes 0, length in blocks
                range[1] = startBlock;
                command.Data1 = rangeIova;
                break;
            case BlockOperation.WriteZeroes:
                blocks = Math.Min(blocksLeft, Math.Min(MaxBlocksPerCommand, Math.Max(1, _maxTransferBytes / channel.BlockSizeBytes)));
                command.Opcode = NvmeOpcode.WriteZeroes;
                SetRange(ref command, startBlock, blocks);
                command.Dword12 |= (request->Flags & BlockRequestFlags.MayUnmap) != 0 ? NvmeOpcode.Deallocate : 0;
                break;
            default:
                command.Opcode = request->Operation switch
                {
                    BlockOperation.Read => NvmeOpcode.Read,
                    BlockOperation.Write => NvmeOpcode.Write,
                    _ => NvmeOpcode.Compare,
                };
                if (!TryMapData(request, ref progress, ref slot, channel, id, blocksLeft, ref command))
                {
                    return false;
                }

                blocks = slot.LengthBytes >> channel.BlockShift;
                SetRange(ref command, startBlock, blocks);
                break;
        }

        if ((request->Flags & BlockRequestFlags.ForceUnitAccess) != 0 && request->Operation is BlockOperation.Write or BlockOperation.WriteZeroes)
        {
            command.Dword12 |= NvmeOpcode.ForceUnitAccess;
        }

        Take(ref slot, request, blocks);
        ring.Push(in command);
        return true;
    }

    private bool TryMapData(
        BlockRequest* request, ref RequestProgress progress, ref CommandSlot slot, NvmeChannel channel, int id, ulong blocksLeft, ref NvmeCommand command)
    {
        var blockBytes = (nuint)channel.BlockSizeBytes;
        var limit = (nuint)Math.Min(Math.Min(blocksLeft, MaxBlocksPerCommand), Math.Max(1, _maxTransferBytes / blockBytes)) * blockBytes;
        var cursor = new SegmentCursor(request->Segments, request->SegmentCount, progress.SegmentIndex, progress.SegmentOffset);
        slot.SegmentIndex = progress.SegmentIndex;
        slot.SegmentOffset = progress.SegmentOffset;
        var list = (ulong*)_memory!.Lists.Page(id, out var listIova);
        var mapped = _mapper!.Map(cursor, limit, blockBytes - 1, list, listIova, ref command);
        if (mapped == 0 || (mapped != limit && (request->Flags & BlockRequestFlags.Atomic) != 0))
        {
            // Not reachable, or only by two commands, of which the device may do one alone: an atomic write is no longer than a buffer.
            if (!TryBounce(ref slot, request, cursor, limit, out mapped))
            {
                return false;
            }

            MapContiguous(_memory.Bounce.Iova(slot.BounceIndex), mapped, list, listIova, ref command);
        }

        slot.LengthBytes = (uint)mapped;
        cursor.Skip(mapped);
        progress.SegmentIndex = cursor.Index;
        progress.SegmentOffset = cursor.Offset;
        return true;
    }

    // A bounce buffer is page-aligned and contiguous.
    private static void MapContiguous(ulong iova, nuint length, ulong* list, ulong listIova, ref NvmeCommand command)
    {
        command.Flags = 0;
        command.Data1 = iova;
        var pages = (int)((length + 4095) / 4096);
        for (var page = 1; page < pages; page++)
        {
            list[page - 1] = iova + ((ulong)page * 4096);
        }

        command.Data2 = pages switch { 1 => 0, 2 => list[0], _ => listIova };
    }

    private static void SetRange(ref NvmeCommand command, ulong startBlock, ulong blocks)
    {
        command.Dword10 = (uint)startBlock;
        command.Dword11 = (uint)(startBlock >> 32);
        command.Dword12 = (uint)(blocks - 1);
    }
}
