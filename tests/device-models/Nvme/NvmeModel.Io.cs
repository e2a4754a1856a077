namespace Vhost.Testing.DeviceModels.Nvme;

/// <summary>I/O commands (NVM Command Set 1.0, section 3).</summary>
public sealed unsafe partial class NvmeModel
{
    private const ulong PageBytes = 4096;
    private readonly (ulong Iova, ulong Length)[] _pieces = new (ulong, ulong)[1024];
    private int _pieceCount;

    private int ExecuteIo(NvmeModelCommand command)
    {
        if (!_namespaces.TryGetValue(command.NamespaceId, out var target))
        {
            return 0x00b;
        }

        var start = command.Dword10 | ((ulong)command.Dword11 << 32);
        var blocks = (command.Dword12 & 0xffff) + 1UL;
        switch (command.Opcode)
        {
            case 0x00:
                Counters.Flushes++;
                return 0;
            case 0x09:
                return Deallocate(command, target);
        }

        if (start > target.BlockCount || blocks > target.BlockCount - start)
        {
            return 0x080;
        }

        var length = blocks * target.BlockSizeBytes;
        var data = target.Block(start);
        if (command.Opcode is 0x01 or 0x08 && (command.Dword12 & (1u << 30)) != 0)
        {
            Counters.ForcedWrites++;
        }

        switch (command.Opcode)
        {
            case 0x08:
                Counters.ZeroedCommands++;
                new Span<byte>(data, (int)length).Clear();
                return 0;
            case 0x01 or 0x02 or 0x05:
                break;
            default:
                return InvalidOpcode;
        }

        if (Settings.MaxTransferShift != 0 && length > PageBytes << Settings.MaxTransferShift)
        {
            Counters.Violations++;
            return InvalidField;
        }

        Counters.LargestTransferBytes = Math.Max(Counters.LargestTransferBytes, (long)length);
        var status = (command.Flags & 0xc0) == 0 ? WalkPrp(command, length) : WalkSgl(command, length);
        if (status != 0)
        {
            Counters.Violations++;
            return status;
        }

        var isMiscompare = false;
        for (var i = 0; i < _pieceCount; i++)
        {
            var (iova, count) = _pieces[i];
            if (!Session!.Dma.TryTranslate(iova, count, forWriting: command.Opcode == 0x02, out var address))
            {
                Counters.Violations++;
                return TransferError;
            }

            // SAFETY: both ranges were checked; the lock keeps them mapped.
            var memory = new Span<byte>((void*)address, (int)count);
            var medium = new Span<byte>(data, (int)count);
            switch (command.Opcode)
            {
                case 0x01:
                    memory.CopyTo(medium);
                    break;
                case 0x02:
                    medium.CopyTo(memory);
                    break;
                default:
                    isMiscompare |= !memory.SequenceEqual(medium);
                    break;
            }

            data += count;
        }

        Counters.Compares += command.Opcode == 0x05 ? 1 : 0;
        return isMiscompare ? 0x285 : 0;
    }

    private int Deallocate(NvmeModelCommand command, NvmeModelNamespace target)
    {
        var ranges = (command.Dword10 & 0xff) + 1;
        if ((command.Dword11 & 4) == 0)
        {
            return 0;
        }

        if (!Session!.Dma.TryTranslate(command.Data1, ranges * 16, forWriting: false, out var address))
        {
            Counters.Violations++;
            return TransferError;
        }

        for (var i = 0; i < (int)ranges; i++)
        {
            var blocks = ((uint*)address)[(4 * i) + 1];
            var start = ((ulong*)address)[(2 * i) + 1];
            if (start > target.BlockCount || blocks > target.BlockCount - start)
            {
                return 0x080;
            }

            Counters.Deallocations++;
            new Span<byte>(target.Block(start), (int)(blocks * target.BlockSizeBytes)).Clear();
        }

        return 0;
    }

    // NVM Express Base 2.0, section 4.1.1.
    private int WalkPrp(NvmeModelCommand command, ulong length)
    {
        const int OffsetInvalid = 0x013;
        Counters.PrpCommands++;
        _pieceCount = 0;
        if ((command.Data1 & 3) != 0)
        {
            return OffsetInvalid;
        }

        var first = Math.Min(length, PageBytes - (command.Data1 & (PageBytes - 1)));
        _pieces[_pieceCount++] = (command.Data1, first);
        var left = length - first;
        if (left == 0)
        {
            return 0;
        }

        if (left <= PageBytes)
        {
            _pieces[_pieceCount++] = (command.Data2, left);
            return (command.Data2 & (PageBytes - 1)) == 0 ? 0 : OffsetInvalid;
        }

        var list = command.Data2;
        while (left > 0)
        {
            if ((list & 7) != 0 || !Session!.Dma.TryTranslate(list, 8, forWriting: false, out var address))
            {
                return TransferError;
            }

            var entry = *(ulong*)address;
            if ((entry & (PageBytes - 1)) != 0)
            {
                return OffsetInvalid;
            }

            if (((list + 8) & (PageBytes - 1)) == 0 && left > PageBytes)
            {
                list = entry; // the last entry of a page chains to the next
                continue;
            }

            var piece = Math.Min(left, PageBytes);
            _pieces[_pieceCount++] = (entry, piece);
            left -= piece;
            list += 8;
        }

        return 0;
    }

    // NVM Express Base 2.0, section 4.1.2.
    private int WalkSgl(NvmeModelCommand command, ulong length)
    {
        const int TypeInvalid = 0x011;
        const int LengthInvalid = 0x00f;
        Counters.SglCommands++;
        _pieceCount = 0;
        if (Settings.Sgl == 0)
        {
            return InvalidField;
        }

        ulong total = 0;
        var type = command.Data2 >> 60;
        if (type == 0)
        {
            total = (uint)command.Data2;
            _pieces[_pieceCount++] = (command.Data1, Math.Min(total, length));
        }
        else if (type == 3)
        {
            var count = (uint)command.Data2 / 16;
            if (!Session!.Dma.TryTranslate(command.Data1, count * 16, forWriting: false, out var address))
            {
                return TransferError;
            }

            for (var i = 0; i < (int)count; i++)
            {
                var (iova, descriptor) = (((ulong*)address)[2 * i], ((ulong*)address)[(2 * i) + 1]);
                if (descriptor >> 60 != 0)
                {
                    return TypeInvalid;
                }

                _pieces[_pieceCount++] = (iova, (uint)descriptor);
                total += (uint)descriptor;
            }
        }
        else
        {
            return TypeInvalid;
        }

        if (Settings.Sgl == 2)
        {
            for (var i = 0; i < _pieceCount; i++)
            {
                if (((_pieces[i].Iova | _pieces[i].Length) & 3) != 0)
                {
                    return LengthInvalid;
                }
            }
        }

        return total == length ? 0 : LengthInvalid;
    }
}
