using System.Buffers.Binary;
using System.Collections.Concurrent;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;
using Vhost.VfioUser;
using Vhost.VvuDevice;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>A vvu device between a driver that writes what it likes to registers, queues and sockets, and a master that does the same with its messages.</summary>
internal sealed class VvuTarget : IFuzzTarget
{
    private const ulong DmaBytes = 1 << 16;
    private const int WaitMilliseconds = 60_000;
    private const int MaxMasters = 64;

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("fuzz");
    private readonly ConcurrentQueue<string> _lines = new();
    private readonly MemoryFile _dma = MemoryFile.Create("dma", DmaBytes);
    private readonly MemoryMapping _dmaMapping;
    private readonly MessageSequence _messages = new();
    private readonly VvuPciDevice _device;
    private readonly VfioUserServer _server;
    private readonly string _vhostUserSocket;
    private readonly string _vfioUserSocket;
    private int _masterCount;

    public VvuTarget(DeviceLayout layout)
    {
        _vhostUserSocket = Path.Combine(_directory.FullName, "m");
        _vfioUserSocket = Path.Combine(_directory.FullName, "d");
        _dmaMapping = MemoryMapping.MapShared(_dma.Raw, 0, (nuint)DmaBytes);
        _device = new VvuPciDevice(new DeviceOptions(_vfioUserSocket, _vhostUserSocket, null, 0, layout), _lines.Enqueue);
        _server = new VfioUserServer(_vfioUserSocket, _device, _lines.Enqueue);
    }

    /// <inheritdoc/>
    public ulong Run(FuzzInput input)
    {
        _lines.Clear();
        _masterCount = 0;
        var descriptors = ProcessDescriptors.Count();
        var seen = new Seen();
        using (var driver = UnixSocket.Create())
        {
            driver.Connect(_vfioUserSocket);
            var isThere = Tell(driver, VfioUserCommand.Version, new VfioUserCapabilities().Encode(1), seen)
                && Tell(driver, VfioUserCommand.DmaMap, Words64(32 | (3UL << 32), 0, 0, DmaBytes), seen, _dma.Raw);
            if (!input.Once(8))
            {
                isThere = isThere && StartDevice(driver, seen);
            }

            while (isThere && !input.IsEmpty)
            {
                isThere = input.Below(8) switch
                {
                    0 => Master(input),
                    1 => Garbage(input),
                    2 => TellWrong(input, driver, seen),
                    _ => Access(input, driver, seen),
                };
            }
        }

        // The next driver is served, and when it goes so does the master. One that came when no driver was there waits for the one after.
        var tries = 0;
        do
        {
            if (++tries > 4 * MaxMasters)
            {
                throw new InvalidOperationException($"descriptors stay open: {string.Join('\n', _lines)}");
            }

            ServeNext(seen);
        }
        while (!SpinWait.SpinUntil(() => ProcessDescriptors.Count() <= descriptors, 200));

        foreach (var line in _lines)
        {
            if (line.Contains("   at ", StringComparison.Ordinal))
            {
                throw new InvalidOperationException($"an unexpected fault: {line}");
            }

            seen.Add(line);
        }

        return seen.Value;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _server.Dispose();
        _device.Dispose();
        _messages.Dispose();
        _dmaMapping.Dispose();
        _dma.Dispose();
        _directory.Delete(recursive: true);
    }

    private static byte[] Words64(params ulong[] words)
    {
        var bytes = new byte[words.Length * sizeof(ulong)];
        Buffer.BlockCopy(words, 0, bytes, 0, bytes.Length);
        return bytes;
    }

    private static byte[] AccessHeader(ulong offset, uint region, uint count, ReadOnlySpan<byte> data)
    {
        var bytes = new byte[16 + data.Length];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, offset);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(8), region);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(12), count);
        data.CopyTo(bytes.AsSpan(16));
        return bytes;
    }

    private void ServeNext(Seen seen)
    {
        using var next = UnixSocket.Create();
        next.Connect(_vfioUserSocket);
        if (!Tell(next, VfioUserCommand.Version, new VfioUserCapabilities().Encode(1), seen) || !Tell(next, VfioUserCommand.DeviceReset, [], seen))
        {
            throw new InvalidOperationException($"the next driver is not served: {string.Join('\n', _lines)}");
        }
    }

    /// <summary>What a driver writes so that the device runs: bus mastering, features, two queues of 16 entries in its memory.</summary>
    private static bool StartDevice(UnixSocket driver, Seen seen)
    {
        bool Put(ulong offset, ReadOnlySpan<byte> value) => Tell(driver, VfioUserCommand.RegionWrite, AccessHeader(offset, 4, (uint)value.Length, value), seen);
        var isThere = Tell(driver, VfioUserCommand.RegionWrite, AccessHeader(4, VfioUserRegions.Config, 2, [6, 0]), seen)
            && Put(0x14, [1]) && Put(0x14, [3]) && Put(0x08, [0, 0, 0, 0]) && Put(0x0c, [1, 0, 0, 0]) && Put(0x08, [1, 0, 0, 0]) && Put(0x0c, [1, 0, 0, 0]) && Put(0x14, [11]);
        for (byte queue = 0; queue < 2; queue++)
        {
            var at = (ulong)queue * 0x4000;
            isThere = isThere && Put(0x16, [queue, 0]) && Put(0x18, [16, 0]) && Put(0x20, BitConverter.GetBytes((uint)at)) && Put(0x28, BitConverter.GetBytes((uint)at + 0x1000))
                && Put(0x30, BitConverter.GetBytes((uint)at + 0x2000)) && Put(0x1c, [1, 0]);
        }

        return isThere && Put(0x14, [15]);
    }

    /// <summary>Sends a command and reads the reply.</summary>
    /// <returns>False if the device closed the link.</returns>
    private static bool Tell(UnixSocket driver, VfioUserCommand command, byte[] payload, Seen seen, params ReadOnlySpan<int> files)
    {
        var header = new byte[VfioUserHeader.Length];
        VfioUserHeader.ForCommand(1, command, payload.Length).Write(header);
        try
        {
            driver.SendAll(header, payload, files);
            if (!Read(driver, header))
            {
                return false;
            }

            var reply = VfioUserHeader.Read(header);
            seen.Add(reply.IsError ? $"{command} {(char)('a' + (reply.Error % 26))}" : $"{command}");
            return Read(driver, new byte[reply.MessageBytes - VfioUserHeader.Length]);
        }
        catch (LinuxException)
        {
            return false;
        }
    }

    private static bool Read(UnixSocket socket, byte[] destination)
    {
        var files = new int[16];
        for (var done = 0; done < destination.Length;)
        {
            if (socket.WaitReadable(WaitMilliseconds) != WaitResult.Ready)
            {
                throw new TimeoutException("the device does not answer");
            }

            var result = socket.Receive(destination.AsSpan(done), files);
            Array.ForEach(files[..result.DescriptorCount], FileDescriptor.CloseRaw);
            if (result.Bytes == 0)
            {
                return false;
            }

            done += result.Bytes;
        }

        return true;
    }

    private bool Access(FuzzInput input, UnixSocket driver, Seen seen)
    {
        var region = (uint)input.Of(1, 2, 2, 4, 4, 4, VfioUserRegions.Config, input.Below(12));
        var offset = region switch
        {
            1 => (ulong)input.Below(0x8000),
            2 => input.Below(4) switch { 0 => (ulong)input.Below(0x3000), 1 => 0x2000 + (ulong)input.Below(16), 2 => 0x3000 + (ulong)input.Below(0x4000), _ => (ulong)input.Below(8) * 4 },
            4 => ((ulong)input.Below(4) << 12) + (ulong)input.Below(0x60),
            _ => (ulong)input.Below(256),
        };
        if (input.Once(16))
        {
            offset = input.Number();
        }

        var count = input.Once(8) ? input.Below(64) : input.Of(1, 2, 4, 8);
        var data = input.Bytes(count);
        if (region == 4 && offset is >= 0x20 and < 0x38 && !input.Once(6))
        {
            // Ring addresses within the driver's memory.
            Words64((ulong)input.Below(14) << 12).AsSpan(0, Math.Min(8, count)).CopyTo(data);
        }

        return input.Once(3)
            ? Tell(driver, VfioUserCommand.RegionRead, AccessHeader(offset, region, (uint)count, []), seen)
            : Tell(driver, VfioUserCommand.RegionWrite, AccessHeader(offset, region, input.Once(32) ? (uint)input.Raw() : (uint)count, data), seen);
    }

    private bool TellWrong(FuzzInput input, UnixSocket driver, Seen seen)
    {
        var words = new ulong[input.Below(9)];
        for (var i = 0; i < words.Length; i++)
        {
            words[i] = input.Once(2) ? (uint)input.Below(64) | ((ulong)input.Below(64) << 32) : input.Number();
        }

        int[] files = input.Below(4) switch { 0 => [_dma.Raw], 1 => [_dma.Raw, driver.Raw, _dma.Raw], _ => [] };
        return Tell(driver, (VfioUserCommand)input.Of(2, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 10, 13, 15, 15, 16, input.Below(32)), Words64(words), seen, files);
    }

    private bool Master(FuzzInput input)
    {
        if (++_masterCount > MaxMasters)
        {
            return true;
        }

        try
        {
            using var connection = FrontEndConnection.Connect(_vhostUserSocket);
            var part = new FuzzInput(input.Bytes(16 + input.Below(160)));
            _messages.Send(part, connection);
            if (input.Once(2))
            {
                // Its messages arrive before it goes.
                connection.Socket.Shutdown();
                connection.TimeoutMilliseconds = 20;
                connection.Receive().Dispose();
            }
        }
        catch (Exception exception) when (exception is LinuxException or FrontEndException)
        {
            // The device takes one master at a time, and only while its driver runs.
        }

        return true;
    }

    private unsafe bool Garbage(FuzzInput input)
    {
        // SAFETY: within the mapping. A descriptor is 16 bytes; indexes lie at the beginning of each page.
        var at = _dmaMapping.Address + (input.Below(15) * 4096) + (input.Once(2) ? 0 : input.Below(64) * 16);
        if (input.Once(2))
        {
            *(ulong*)at = (ulong)input.Below(0xf000);
            *(uint*)(at + 8) = (uint)input.Of(12, 20, 64, 4096, 0, -1);
            *(ushort*)(at + 12) = (ushort)input.Below(8);
            *(ushort*)(at + 14) = (ushort)input.Below(20);
        }
        else
        {
            input.Fill(new Span<byte>(at, input.Below(32)));
        }

        return true;
    }
}
