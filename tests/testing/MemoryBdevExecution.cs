using Vhost.Abstractions;

namespace Vhost.Testing;

/// <summary>What a request does to a disk in memory, with the checks that the host makes at a port.</summary>
internal static unsafe class MemoryBdevExecution
{
    public static BlockStatus Execute(BdevInfo? info, byte* data, BlockRequest* request)
    {
        if (info is null)
        {
            return BlockStatus.NoDevice;
        }

        if (((ushort)info.Operations & (1 << (int)request->Operation)) == 0)
        {
            return BlockStatus.Unsupported;
        }

        if (request->Operation == BlockOperation.Flush)
        {
            return BlockStatus.Success;
        }

        if (request->BlockCount == 0 || request->StartBlock > info.BlockCount || request->BlockCount > info.BlockCount - request->StartBlock)
        {
            return BlockStatus.OutOfRange;
        }

        var isWriting = request->Operation is not (BlockOperation.Read or BlockOperation.Compare);
        if (isWriting && info.IsReadOnly)
        {
            return BlockStatus.ReadOnly;
        }

        var length = request->BlockCount * info.BlockSizeBytes;
        var place = data + (request->StartBlock * info.BlockSizeBytes);
        if (request->Operation is BlockOperation.Discard or BlockOperation.WriteZeroes)
        {
            Clear(place, length);
            return BlockStatus.Success;
        }

        var expected = request->Operation == BlockOperation.CompareAndWrite ? 2 * length : length;
        ulong total = 0;
        for (var i = 0; i < request->SegmentCount; i++)
        {
            total += request->Segments[i].LengthBytes;
        }

        return total != expected ? BlockStatus.OutOfRange : Transfer(place, length, request);
    }

    private static BlockStatus Transfer(byte* place, ulong length, BlockRequest* request)
    {
        switch (request->Operation)
        {
            case BlockOperation.Read:
                Copy(place, length, request, 0, isToDisk: false);
                return BlockStatus.Success;
            case BlockOperation.Write:
                Copy(place, length, request, 0, isToDisk: true);
                return BlockStatus.Success;
            default:
                var wanted = new byte[length];
                fixed (byte* expected = wanted)
                {
                    Copy(expected, length, request, 0, isToDisk: true);
                }

                var equal = wanted.AsSpan().CommonPrefixLength(new ReadOnlySpan<byte>(place, (int)length));
                if (equal != wanted.Length)
                {
                    request->Information = (ulong)equal;
                    return BlockStatus.Miscompare;
                }

                if (request->Operation == BlockOperation.CompareAndWrite)
                {
                    Copy(place, length, request, length, isToDisk: true);
                }

                return BlockStatus.Success;
        }
    }

    private static void Copy(byte* place, ulong length, BlockRequest* request, ulong skip, bool isToDisk)
    {
        ulong done = 0;
        for (var i = 0; i < request->SegmentCount && done < length; i++)
        {
            var segment = request->Segments[i];
            if (skip >= segment.LengthBytes)
            {
                skip -= segment.LengthBytes;
                continue;
            }

            var piece = Math.Min(segment.LengthBytes - skip, length - done);
            var memory = segment.Address + skip;
            skip = 0;
            Buffer.MemoryCopy(isToDisk ? memory : place + done, isToDisk ? place + done : memory, piece, piece);
            done += piece;
        }
    }

    private static void Clear(byte* place, ulong length)
    {
        for (ulong done = 0; done < length; done += 1 << 20)
        {
            new Span<byte>(place + done, (int)Math.Min(length - done, 1 << 20)).Clear();
        }
    }
}
