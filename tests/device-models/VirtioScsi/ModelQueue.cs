using Vhost.VfioUser;

namespace Vhost.Testing.DeviceModels.VirtioScsi;

/// <summary>One descriptor chain, with its pieces in this process.</summary>
internal sealed class ModelChain
{
    public ushort Id { get; set; }

    /// <summary>Packed: ring entries that the chain takes.</summary>
    public int EntryCount { get; set; }

    public List<(nint Address, int Length)> Readable { get; } = [];

    public List<(nint Address, int Length)> Writable { get; } = [];
}

/// <summary>A virtqueue from the device's side, written anew for the model so that the driver is checked against another reading of the specification.</summary>
internal sealed unsafe class ModelQueue(int index)
{
    private const ushort Next = 1;
    private const ushort Write = 2;
    private const ushort IndirectFlag = 4;
    private bool _isPacked;
    private ulong _descriptors;
    private ulong _driver;
    private ulong _device;
    private int _next;
    private int _nextUsed;
    private bool _wrap = true;
    private bool _usedWrap = true;

    public int Index { get; } = index;

    public int Size { get; set; }

    public ushort Vector { get; set; } = 0xffff;

    public bool IsEnabled { get; private set; }

    public void Enable(bool isPacked, ulong descriptors, ulong driver, ulong device)
    {
        Clear(keepsSize: true);
        (_isPacked, _descriptors, _driver, _device) = (isPacked, descriptors, driver, device);
        IsEnabled = true;
    }

    public void Clear(bool keepsSize = false)
    {
        IsEnabled = false;
        _next = _nextUsed = 0;
        _wrap = _usedWrap = true;
        if (!keepsSize)
        {
            Size = 0;
            Vector = 0xffff;
        }
    }

    /// <summary>Takes the next chain; null if there is none. False in <paramref name="isSound"/> where the chain breaks a rule.</summary>
    public ModelChain? Take(VfioUserDma dma, out bool isSound)
    {
        isSound = true;
        if (!IsEnabled)
        {
            return null;
        }

        return _isPacked ? TakePacked(dma, ref isSound) : TakeSplit(dma, ref isSound);
    }

    /// <summary>Gives a chain back, under an id of the caller's choice.</summary>
    public void Give(VfioUserDma dma, ushort id, int entryCount, uint written)
    {
        if (_isPacked)
        {
            var entry = Pointer(dma, _descriptors + ((ulong)_nextUsed * 16), 16);
            *(uint*)(entry + 8) = written;
            *(ushort*)(entry + 12) = id;
            // Release: pairs with the driver's acquire of the flags.
            Volatile.Write(ref *(ushort*)(entry + 14), (ushort)((_usedWrap ? 0x8080 : 0) | (written != 0 ? Write : 0)));
            _nextUsed += entryCount;
            if (_nextUsed >= Size)
            {
                _nextUsed -= Size;
                _usedWrap = !_usedWrap;
            }

            return;
        }

        var used = Pointer(dma, _device, 6 + (8 * Size));
        *(uint*)(used + 4 + (8 * (_nextUsed % Size))) = id;
        *(uint*)(used + 8 + (8 * (_nextUsed % Size))) = written;
        _nextUsed = (ushort)(_nextUsed + 1);
        // Release: pairs with the driver's acquire of the used index.
        Volatile.Write(ref *(ushort*)(used + 2), (ushort)_nextUsed);
    }

    /// <summary>Whether the driver wants an interrupt. EVENT_IDX is not offered.</summary>
    public bool WantsInterrupt(VfioUserDma dma)
    {
        // Store-load: the used entry is visible before the flag is read. Pairs with the driver's fence when it enables interrupts.
        Interlocked.MemoryBarrier();
        return _isPacked ? *(ushort*)(Pointer(dma, _driver, 4) + 2) != 1 : (*(ushort*)Pointer(dma, _driver, 4) & 1) == 0;
    }

    private static byte* Pointer(VfioUserDma dma, ulong iova, int length) =>
        dma.TryTranslate(iova, (ulong)length, forWriting: true, out var address) ? (byte*)address : throw new InvalidDataException($"the ring at 0x{iova:x} is not memory");

    private ModelChain? TakeSplit(VfioUserDma dma, ref bool isSound)
    {
        var available = Pointer(dma, _driver, 6 + (2 * Size));
        // Acquire: pairs with the driver's release of the available index.
        if (Volatile.Read(ref *(ushort*)(available + 2)) == (ushort)_next)
        {
            return null;
        }

        var head = *(ushort*)(available + 4 + (2 * (_next % Size)));
        _next = (ushort)(_next + 1);
        var chain = new ModelChain { Id = head, EntryCount = 1 };
        var table = Pointer(dma, _descriptors, 16 * Size);
        var limit = Size;
        var at = head;
        for (var budget = 1024; budget > 0; budget--)
        {
            if (at >= limit)
            {
                isSound = false;
                break;
            }

            var descriptor = table + (16 * at);
            var flags = *(ushort*)(descriptor + 12);
            if ((flags & IndirectFlag) != 0)
            {
                limit = (int)(*(uint*)(descriptor + 8) / 16);
                table = Pointer(dma, *(ulong*)descriptor, limit * 16);
                at = 0;
                continue;
            }

            isSound &= AddPiece(dma, chain, *(ulong*)descriptor, *(uint*)(descriptor + 8), flags);
            if ((flags & Next) == 0)
            {
                return chain;
            }

            at = *(ushort*)(descriptor + 14);
        }

        isSound = false;
        return chain;
    }

    private ModelChain? TakePacked(VfioUserDma dma, ref bool isSound)
    {
        var chain = new ModelChain();
        while (true)
        {
            var descriptor = Pointer(dma, _descriptors + ((ulong)_next * 16), 16);
            // Acquire: pairs with the driver's release of the flags of the chain's first entry.
            var flags = Volatile.Read(ref *(ushort*)(descriptor + 14));
            if (chain.EntryCount == 0 && ((flags & 0x80) != 0) != _wrap | ((flags & 0x8000) != 0) == _wrap)
            {
                return null;
            }

            chain.EntryCount++;
            chain.Id = *(ushort*)(descriptor + 12);
            if (++_next == Size)
            {
                _next = 0;
                _wrap = !_wrap;
            }

            if ((flags & IndirectFlag) != 0)
            {
                var count = (int)(*(uint*)(descriptor + 8) / 16);
                var table = Pointer(dma, *(ulong*)descriptor, count * 16);
                for (var i = 0; i < count; i++)
                {
                    isSound &= AddPiece(dma, chain, *(ulong*)(table + (16 * i)), *(uint*)(table + (16 * i) + 8), *(ushort*)(table + (16 * i) + 14));
                }

                return chain;
            }

            isSound &= AddPiece(dma, chain, *(ulong*)descriptor, *(uint*)(descriptor + 8), flags);
            if ((flags & Next) == 0)
            {
                return chain;
            }

            if (chain.EntryCount > Size)
            {
                isSound = false;
                return chain;
            }
        }
    }

    // Readable pieces come before writable ones, and each lies in memory that the device may reach.
    private static bool AddPiece(VfioUserDma dma, ModelChain chain, ulong iova, uint length, ushort flags)
    {
        var isWritable = (flags & Write) != 0;
        if (length == 0 || (!isWritable && chain.Writable.Count > 0) || !dma.TryTranslate(iova, length, isWritable, out var address))
        {
            return false;
        }

        (isWritable ? chain.Writable : chain.Readable).Add((address, (int)length));
        return true;
    }
}
