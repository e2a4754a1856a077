using Vhost.Testing.FrontEnd;

namespace Vhost.Appliance.Client;

/// <summary>Fills or checks the LUNs of a vhost-user-scsi server, one after the other, as a guest whose memory is of the given kind.</summary>
/// <param name="socket">The server's socket.</param>
/// <param name="memory">Where the guest's memory comes from.</param>
internal sealed class DiskRunner(string socket, Func<ulong, GuestMemory> memory)
{
    private const int RequestBytes = 128 << 10;
    private const int Depth = 8;
    private const ulong MemoryBytes = 4 << 20;
    private const int TimeoutMilliseconds = 60_000;
    private const int Connections = 5;

    /// <summary>Writes the whole of a LUN, flushes it, and compares it.</summary>
    /// <param name="target">The target.</param>
    /// <param name="seed">The seed of its pattern.</param>
    /// <returns>Bytes of the LUN.</returns>
    public long Fill(byte target, uint seed) => Run(target, seed, write: true);

    /// <summary>Compares the whole of a LUN.</summary>
    /// <param name="target">The target.</param>
    /// <param name="seed">The seed of its pattern.</param>
    /// <returns>Bytes of the LUN.</returns>
    public long Check(byte target, uint seed) => Run(target, seed, write: false);

    /// <summary>Submits reads of several LUNs at once, says so, and waits for them until the server is gone or too slow.</summary>
    /// <param name="targets">The targets.</param>
    /// <returns>Reads that were answered.</returns>
    public int Read(IReadOnlyList<byte> targets)
    {
        using GuestMemory guest = memory(MemoryBytes);
        using FrontEndDevice device = Connect(guest);
        FrontEndQueue queue = device.RequestQueue(0);
        VirtioScsiRequests[] luns = [.. targets.Select(target => new VirtioScsiRequests(device, Depth, RequestBytes, target))];
        foreach (VirtioScsiRequests lun in luns)
        {
            for (int slot = 0; slot < Depth; slot++)
            {
                if (!lun.TryAdd(queue.Ring, slot, isWrite: false, (ulong)(slot * RequestBytes / lun.BlockSizeBytes), RequestBytes))
                {
                    throw new FrontEndException("the ring has no room");
                }
            }
        }

        queue.Publish();
        Console.WriteLine($"submitted {luns.Length * Depth}");
        for (int done = 0; done < luns.Length * Depth; done++)
        {
            _ = BlockRequests.Complete(queue, TimeoutMilliseconds);
        }

        device.Stop();
        return luns.Length * Depth;
    }

    /// <summary>
    /// Reads two LUNs over and over and compares what comes, until a file with the report's name and ".end" is there. One may come and go; the other may not fail.
    /// </summary>
    /// <param name="steady">The LUN that stays, with its seed.</param>
    /// <param name="fleeting">The LUN that comes and goes.</param>
    /// <param name="report">The file that is told, some times a second, how many reads of each went well and how many failed.</param>
    public void Endure((byte Target, uint Seed) steady, (byte Target, uint Seed) fleeting, string report)
    {
        using GuestMemory guest = memory(MemoryBytes);
        using FrontEndDevice device = Connect(guest);
        FrontEndQueue queue = device.RequestQueue(0);
        (VirtioScsiRequests Lun, uint Seed)[] luns =
        [
            (new VirtioScsiRequests(device, Depth, RequestBytes, steady.Target), steady.Seed), (new VirtioScsiRequests(device, Depth, RequestBytes, fleeting.Target), fleeting.Seed),
        ];

        // The lower half of the slots belongs to the first LUN, the upper half to the second.
        const int Half = Depth / 2;
        long[] good = [0, 0];
        long failed = 0;
        long told = 0;
        for (int slot = 0; slot < Depth; slot++)
        {
            Submit(slot);
        }

        for (int underWay = Depth; underWay > 0;)
        {
            int slot = BlockRequests.Complete(queue, TimeoutMilliseconds);
            (VirtioScsiRequests lun, uint seed) = luns[slot / Half];
            if (lun.IsSuccess(slot))
            {
                good[slot / Half]++;
                if (DiskPattern.FindFault(seed, (long)slot * RequestBytes, lun.Data(slot).Span[..RequestBytes]) is { } fault)
                {
                    throw new FrontEndException($"wrong data: {fault}");
                }
            }
            else if (slot < Half)
            {
                throw new FrontEndException($"the disk that stays: {lun.DescribeResult(slot)}");
            }
            else
            {
                failed++;
                Thread.Sleep(TimeSpan.FromMilliseconds(5));
            }

            if (Environment.TickCount64 - told > 200)
            {
                told = Environment.TickCount64;
                File.WriteAllText(report + ".new", $"{good[0]} {good[1]} {failed}");
                File.Move(report + ".new", report, overwrite: true);
            }

            if (File.Exists(report + ".end"))
            {
                underWay--;
            }
            else
            {
                Submit(slot);
            }
        }

        device.Stop();

        void Submit(int slot)
        {
            VirtioScsiRequests lun = luns[slot / Half].Lun;
            lun.Data(slot).Span[..RequestBytes].Clear();
            if (!lun.TryAdd(queue.Ring, slot, isWrite: false, (ulong)(slot * RequestBytes / lun.BlockSizeBytes), RequestBytes))
            {
                throw new FrontEndException("the ring has no room");
            }
        }
    }

    private static void Pass(FrontEndQueue queue, VirtioScsiRequests requests, long bytes, uint seed, bool write)
    {
        long[] offsets = new long[Depth];
        var free = new Stack<int>(Enumerable.Range(0, Depth));
        long next = 0;
        for (int underWay = 0; next < bytes || underWay > 0;)
        {
            while (next < bytes && free.TryPop(out int slot))
            {
                int length = (int)Math.Min(RequestBytes, bytes - next);
                Span<byte> data = requests.Data(slot).Span[..length];
                if (write)
                {
                    DiskPattern.Fill(seed, next, data);
                }
                else
                {
                    data.Clear();
                }

                offsets[slot] = next;
                if (!requests.TryAdd(queue.Ring, slot, write, (ulong)(next / requests.BlockSizeBytes), length))
                {
                    throw new FrontEndException("the ring has no room");
                }

                next += length;
                underWay++;
            }

            int done = BlockRequests.Complete(queue, TimeoutMilliseconds);
            underWay--;
            free.Push(done);
            if (!requests.IsSuccess(done))
            {
                throw new FrontEndException($"{(write ? "write" : "read")} at byte {offsets[done]}: {requests.DescribeResult(done)}");
            }

            int got = (int)Math.Min(RequestBytes, bytes - offsets[done]);
            if (!write && DiskPattern.FindFault(seed, offsets[done], requests.Data(done).Span[..got]) is { } fault)
            {
                throw new FrontEndException($"wrong data: {fault}");
            }
        }
    }

    // The first start of a queue waits for code to be compiled, which takes long on an emulated CPU: as QEMU does, the client connects again.
    private FrontEndDevice Connect(GuestMemory guest)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                return FrontEndDevice.Connect(socket, guest, new FrontEndOptions { FirstRequestQueue = VirtioScsiRequests.FirstRequestQueue });
            }
            catch (FrontEndException e) when (attempt < Connections)
            {
                Console.WriteLine($"connection {attempt}: {e.Message}");
                Thread.Sleep(TimeSpan.FromSeconds(1));
            }
        }
    }

    private long Run(byte target, uint seed, bool write)
    {
        using GuestMemory guest = memory(MemoryBytes);
        using FrontEndDevice device = Connect(guest);
        var requests = new VirtioScsiRequests(device, Depth, RequestBytes, target);
        FrontEndQueue queue = device.RequestQueue(0);
        long bytes = (long)requests.BlockCount * requests.BlockSizeBytes;
        if (write)
        {
            Pass(queue, requests, bytes, seed, write: true);
            if (!requests.TryAddFlush(queue.Ring, 0) || BlockRequests.Complete(queue, TimeoutMilliseconds) != 0 || !requests.IsSuccess(0))
            {
                throw new FrontEndException($"flush: {requests.DescribeResult(0)}");
            }
        }

        Pass(queue, requests, bytes, seed, write: false);
        device.Stop();
        return bytes;
    }
}
