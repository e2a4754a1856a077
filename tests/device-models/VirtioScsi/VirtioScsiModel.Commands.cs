using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using Vhost.VfioUser;

namespace Vhost.Testing.DeviceModels.VirtioScsi;

/// <summary>Requests, task management, events, and a small SCSI target.</summary>
public sealed unsafe partial class VirtioScsiModel
{
    private const int ResponseBytes = 12 + 96;
    private const int UsuallyLateMilliseconds = 3;
    private const int SometimesLateMilliseconds = 1000; // longer than a killed process takes to let go of its sockets
    private readonly List<(ModelQueue Queue, ModelChain Chain, ulong Tag)> _held = [];
    private readonly List<(ModelQueue Queue, ModelChain Chain, byte[] Request, long Due)> _late = [];
    private readonly List<byte[]> _orphans = [];
    private readonly Random _choices = new(1);

    private int PollControl()
    {
        var queue = _queues[0];
        var count = 0;
        while (queue.Take(Session!.Dma, out var isSound) is { } chain)
        {
            count++;
            Violations += isSound ? 0 : 1;
            var request = Gather(chain.Readable);
            if (request.Length >= 24 && BinaryPrimitives.ReadUInt32LittleEndian(request.AsSpan(4)) == 0)
            {
                TaskAborts++;
                Abort(BinaryPrimitives.ReadUInt64LittleEndian(request.AsSpan(16)));
            }

            Scatter(chain.Writable, 0, [0]);
            Give(queue, chain, 1);
        }

        return count;
    }

    private void Abort(ulong tag)
    {
        var index = Settings.AbortsHeldCommands ? _held.FindIndex(held => held.Tag == tag) : -1;
        if (index >= 0)
        {
            var (queue, chain, _) = _held[index];
            _held.RemoveAt(index);
            Respond(queue, chain, response: 2, status: 0, residual: 0, [], []);
        }
    }

    private int PollRequests(ModelQueue queue)
    {
        var count = 0;
        while (queue.Take(Session!.Dma, out var isSound) is { } chain)
        {
            count++;
            Commands++;
            if (!isSound)
            {
                Violations++;
                Respond(queue, chain, 9, 0, 0, [], []);
                continue;
            }

            Execute(queue, chain);
        }

        return count;
    }

    private void Execute(ModelQueue queue, ModelChain chain)
    {
        var request = Gather(chain.Readable);
        var cdb = request.AsSpan(19, 32);
        var target = request[0] == 1 ? request[1] : -1;
        if (!_disks.Keys.Any(key => key.Target == target))
        {
            Respond(queue, chain, 3, 0, 0, [], []);
            return;
        }

        var fault = Settings.OnCommand?.Invoke(target, cdb[0]) ?? VirtioScsiFault.None;
        switch (fault)
        {
            case VirtioScsiFault.Hold:
                _held.Add((queue, chain, BinaryPrimitives.ReadUInt64LittleEndian(request.AsSpan(8))));
                return;
            case VirtioScsiFault.Late:
                var late = TimeSpan.FromMilliseconds((_choices.Next(32) == 0 ? SometimesLateMilliseconds : UsuallyLateMilliseconds) * _choices.NextDouble());
                _late.Add((queue, chain, request, Stopwatch.GetTimestamp() + (long)(late.TotalSeconds * Stopwatch.Frequency)));
                return;
            case VirtioScsiFault.Busy:
                Respond(queue, chain, 0, 0x08, 0, [], []);
                return;
            case VirtioScsiFault.TaskSetFull:
                Respond(queue, chain, 0, 0x28, 0, [], []);
                return;
            case VirtioScsiFault.UnitAttention:
                Respond(queue, chain, 0, 2, 0, Sense(6, 0x2900), []);
                return;
            case VirtioScsiFault.MediumError:
                Respond(queue, chain, 0, 2, 0, Sense(3, 0x1100), []);
                return;
        }

        CarryOut(queue, chain, request, fault);
    }

    /// <summary>Does what is due of the commands that take their time, in whatever order they are due.</summary>
    private int EndLate()
    {
        var now = Stopwatch.GetTimestamp();
        for (var i = _late.Count - 1; i >= 0; i--)
        {
            var (queue, chain, request, due) = _late[i];
            if (due <= now)
            {
                _late.RemoveAt(i);
                CarryOut(queue, chain, request, VirtioScsiFault.None);
            }
        }

        return _late.Count;
    }

    /// <summary>The driver is gone with commands under way: some are done all the same, some not before the next driver's reset, and some never.</summary>
    protected override void LoseDriver()
    {
        var late = _late.ToArray();
        base.LoseDriver();
        foreach (var (_, _, request, _) in late)
        {
            switch (_choices.Next(3))
            {
                case 0:
                    CarryOutAlone(request);
                    break;
                case 1:
                    _orphans.Add(request);
                    break;
            }
        }
    }

    private void EndOrphans()
    {
        _orphans.ForEach(CarryOutAlone);
        _orphans.Clear();
    }

    private void CarryOutAlone(byte[] request)
    {
        if (_disks.TryGetValue((request[1], ((request[2] & 0x3f) << 8) | request[3]), out var disk))
        {
            Stragglers++;
            Serve(disk, request[1], request.AsSpan(19, 32), request.AsSpan(19 + 32), out _);
        }
    }

    private void CarryOut(ModelQueue queue, ModelChain chain, byte[] request, VirtioScsiFault fault)
    {
        var cdb = request.AsSpan(19, 32);
        var target = (int)request[1];
        var outData = request.AsSpan(19 + 32);
        var room = chain.Writable.Sum(piece => piece.Length) - ResponseBytes;
        var lun = ((request[2] & 0x3f) << 8) | request[3];
        byte[] data;
        byte[]? sense;
        if (cdb[0] == 0xa0)
        {
            // Any LUN of a target answers for the target, one that is not there too.
            data = ListUnits(target);
            sense = null;
        }
        else if (_disks.TryGetValue((target, lun), out var disk))
        {
            sense = Serve(disk, target, cdb, outData, out data);
        }
        else
        {
            // Peripheral qualifier 3: no device can be there (SPC-4, section 6.4.2).
            data = cdb[0] == 0x12 ? [0x7f, .. new byte[35]] : [];
            sense = cdb[0] == 0x12 ? null : Sense(5, 0x2500);
        }

        data = Settings.PatchData?.Invoke(target, cdb[0], data) ?? data;
        var length = Math.Min(data.Length, room);
        length = fault == VirtioScsiFault.Short ? length / 2 : length;
        // The residual counts from what the driver gave room for.
        var residual = sense is not null ? 0 : fault == VirtioScsiFault.Short && room <= 0 ? outData.Length / 2 : Math.Max(room, 0) - length;
        Respond(queue, chain, 0, (byte)(sense is null ? 0 : 2), (uint)residual, sense ?? [], data.AsSpan(0, length), fault);
    }

    private byte[]? Serve(Disk disk, int target, ReadOnlySpan<byte> cdb, ReadOnlySpan<byte> outData, out byte[] data)
    {
        data = [];
        ulong start;
        ulong count;
        switch (cdb[0])
        {
            case 0x00 or 0x35 or 0x91:
                return null;
            case 0x12:
                data = Inquiry(disk, cdb);
                return data.Length == 0 ? Sense(5, 0x2400) : Cut(ref data, BinaryPrimitives.ReadUInt16BigEndian(cdb[3..]));
            case 0x1a:
                data = [23, 0, 0x10, 0, 0x08, 18, 0x04, .. new byte[17]];
                return Cut(ref data, cdb[4]);
            case 0x25:
                data = new byte[8];
                BinaryPrimitives.WriteUInt32BigEndian(data, (uint)(disk.BlockCount - 1));
                BinaryPrimitives.WriteUInt32BigEndian(data.AsSpan(4), disk.BlockSizeBytes);
                return null;
            case 0x9e:
                data = new byte[32];
                BinaryPrimitives.WriteUInt64BigEndian(data, disk.BlockCount - 1);
                BinaryPrimitives.WriteUInt32BigEndian(data.AsSpan(8), disk.BlockSizeBytes);
                data[14] = 0xc0;
                return Cut(ref data, (int)BinaryPrimitives.ReadUInt32BigEndian(cdb[10..]));
            case 0x28 or 0x2a:
                (start, count) = (BinaryPrimitives.ReadUInt32BigEndian(cdb[2..]), BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]));
                break;
            case 0x88 or 0x8a or 0x93:
                (start, count) = (BinaryPrimitives.ReadUInt64BigEndian(cdb[2..]), BinaryPrimitives.ReadUInt32BigEndian(cdb[10..]));
                break;
            case 0x42:
                Unmaps++;
                (start, count) = (BinaryPrimitives.ReadUInt64BigEndian(outData[8..]), BinaryPrimitives.ReadUInt32BigEndian(outData[16..]));
                break;
            default:
                return Sense(5, 0x2000);
        }

        if (start > disk.BlockCount || count > disk.BlockCount - start)
        {
            return Sense(5, 0x2100);
        }

        var medium = disk.Data.AsSpan((int)(start * disk.BlockSizeBytes), (int)(count * disk.BlockSizeBytes));
        switch (cdb[0])
        {
            case 0x28 or 0x88:
                data = medium.ToArray();
                return null;
            case 0x2a or 0x8a:
                if (outData.Length != medium.Length)
                {
                    Violations++;
                    return Sense(4, 0x4400);
                }

                outData.CopyTo(medium);
                return null;
            case 0x93:
                WriteSames++;
                for (var at = 0; at < medium.Length; at += (int)disk.BlockSizeBytes)
                {
                    outData[..(int)disk.BlockSizeBytes].CopyTo(medium[at..]);
                }

                return null;
            default:
                medium.Clear();
                return null;
        }
    }

    private byte[] ListUnits(int target)
    {
        int[] luns = [.. _disks.Keys.Where(key => key.Target == target).Select(key => key.Lun)];
        var data = new byte[8 + (luns.Length * 8)];
        BinaryPrimitives.WriteInt32BigEndian(data, luns.Length * 8);
        for (var i = 0; i < luns.Length; i++)
        {
            // Flat space addressing from 256 on (SAM-5, section 4.7.7).
            BinaryPrimitives.WriteUInt16BigEndian(data.AsSpan(8 + (8 * i)), (ushort)(luns[i] | (luns[i] < 256 ? 0 : 0x4000)));
        }

        return data;
    }

    private static byte[] Inquiry(Disk disk, ReadOnlySpan<byte> cdb)
    {
        if ((cdb[1] & 1) == 0)
        {
            var standard = new byte[36];
            standard[2] = 6;
            standard[3] = 2;
            standard[4] = 31;
            Encoding.ASCII.GetBytes("VHOST   model disk      1.0 ").CopyTo(standard, 8);
            return standard;
        }

        switch (cdb[2])
        {
            case 0x00:
                return [0, 0, 0, 5, 0x00, 0x80, 0xb0, 0xb1, 0xb2];
            case 0x80:
                return [0, 0x80, 0, 4, .. "S001"u8];
            case 0xb0:
                var limits = new byte[64];
                limits[1] = 0xb0;
                limits[3] = 60;
                BinaryPrimitives.WriteUInt32BigEndian(limits.AsSpan(20), 8192); // UNMAP blocks
                BinaryPrimitives.WriteUInt32BigEndian(limits.AsSpan(24), 1); // and descriptors
                BinaryPrimitives.WriteUInt64BigEndian(limits.AsSpan(36), (2 << 20) / disk.BlockSizeBytes); // WRITE SAME blocks
                return limits;
            case 0xb1:
                return [0, 0xb1, 0, 60, 0, 1, .. new byte[58]];
            case 0xb2:
                return [0, 0xb2, 0, 4, 0, 0xe4, 2, 0];
            default:
                return [];
        }
    }

    private static byte[]? Cut(ref byte[] data, int length)
    {
        data = data[..Math.Min(data.Length, length)];
        return null;
    }

    private static byte[] Sense(byte key, ushort code) => [0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, (byte)(code >> 8), (byte)code, 0, 0, 0, 0];

    private void Respond(
        ModelQueue queue, ModelChain chain, byte response, byte status, uint residual, ReadOnlySpan<byte> sense, ReadOnlySpan<byte> data, VirtioScsiFault fault = VirtioScsiFault.None)
    {
        var header = new byte[12 + sense.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)sense.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(4), residual);
        header[10] = status;
        header[11] = response;
        sense.CopyTo(header.AsSpan(12));
        Scatter(chain.Writable, 0, header);
        Scatter(chain.Writable, ResponseBytes, data);
        switch (fault)
        {
            case VirtioScsiFault.Twice:
                queue.Give(Session!.Dma, chain.Id, chain.EntryCount, (uint)(ResponseBytes + data.Length));
                goto default;
            case VirtioScsiFault.Flood:
                for (var i = 0; i < queue.Size; i++)
                {
                    queue.Give(Session!.Dma, chain.Id, chain.EntryCount, (uint)(ResponseBytes + data.Length));
                }

                goto default;
            case VirtioScsiFault.ForeignId:
                queue.Give(Session!.Dma, (ushort)(chain.Id ^ 0x5555), chain.EntryCount, (uint)(ResponseBytes + data.Length));
                Interrupt(queue);
                break;
            default:
                Give(queue, chain, (uint)(ResponseBytes + data.Length));
                break;
        }
    }

    private void Give(ModelQueue queue, ModelChain chain, uint written)
    {
        queue.Give(Session!.Dma, chain.Id, chain.EntryCount, written);
        Interrupt(queue);
    }

    private void Interrupt(ModelQueue queue)
    {
        if (queue.Vector < Settings.Vectors && queue.WantsInterrupt(Session!.Dma))
        {
            Session.Interrupts.Trigger(VfioUserIrqs.Msix, queue.Vector);
        }
        else if (Settings.Vectors == 0 && Settings.HasLine && queue.WantsInterrupt(Session!.Dma))
        {
            _isr |= 1;
            SetLine(true);
        }
    }

    private void RaiseEvent(uint kind, int? target, uint reason)
    {
        if (Session is null || (_common[0x14] & 4) == 0 || _queues[1].Take(Session.Dma, out _) is not { } chain)
        {
            return;
        }

        var data = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(data, kind);
        if (target is { } subject)
        {
            data[4] = 1;
            data[5] = (byte)subject;
        }

        BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(12), reason);
        Scatter(chain.Writable, 0, data);
        Give(_queues[1], chain, 16);
    }

    private static byte[] Gather(List<(nint Address, int Length)> pieces)
    {
        var data = new byte[pieces.Sum(piece => piece.Length)];
        var at = 0;
        foreach (var (address, length) in pieces)
        {
            new ReadOnlySpan<byte>((void*)address, length).CopyTo(data.AsSpan(at));
            at += length;
        }

        return data;
    }

    private static void Scatter(List<(nint Address, int Length)> pieces, int skip, ReadOnlySpan<byte> data)
    {
        foreach (var (address, length) in pieces)
        {
            if (skip >= length)
            {
                skip -= length;
                continue;
            }

            var count = Math.Min(length - skip, data.Length);
            data[..count].CopyTo(new Span<byte>((void*)(address + skip), count));
            data = data[count..];
            skip = 0;
        }
    }
}
