using System.Buffers.Binary;
using Vhost.Linux;
using Vhost.VfioUser;

namespace Vhost.Pci.Tests;

/// <summary>
/// A PCI device over vfio-user: BAR 0 with registers (trapped, page 0) and memory (mapped, page 1). A write of an IOVA to register 8
/// adds 1 to the 8 bytes there and raises its interrupt. Two MSI-X vectors, or one INTx line.
/// </summary>
internal sealed class DmaDevice : IVfioUserDevice, IDisposable
{
    private readonly MemoryFile _file = MemoryFile.Create("bar0", 8192);
    private readonly bool _hasMsix;
    private readonly byte[] _registers = new byte[4096];

    public DmaDevice(bool hasMsix = true)
    {
        _hasMsix = hasMsix;
        Memory = MemoryMapping.MapShared(_file.Raw, 4096, 4096);
        BinaryPrimitives.WriteUInt32LittleEndian(Config, 0x5678_1234);
        BinaryPrimitives.WriteUInt32LittleEndian(Config.AsSpan(8), 0x0108_0203);
        BinaryPrimitives.WriteUInt32LittleEndian(Config.AsSpan(0x2c), 0x2222_1111);
        if (hasMsix)
        {
            Config[6] = 0x10;
            Config[0x34] = 0x40;
            Config[0x40] = 0x11;
            Config[0x42] = 1;
            Config[0x45] = 0x20; // table at 0x2000 of BAR 0
        }
    }

    public byte[] Config { get; } = new byte[256];

    public byte[] MsixTable { get; } = [.. Enumerable.Repeat((byte)0xff, 32)];

    public MemoryMapping Memory { get; }

    public int Resets { get; private set; }

    public VfioUserSession? Session { get; private set; }

    public ushort Command => BinaryPrimitives.ReadUInt16LittleEndian(Config.AsSpan(4));

    public VfioUserRegion GetRegion(int index) => index switch
    {
        0 => new VfioUserRegion { Size = 0x10000, MapFd = _file.Raw, MapAreas = [new VfioUserArea(4096, 4096)] },
        VfioUserRegions.Config => new VfioUserRegion { Size = 256 },
        _ => VfioUserRegion.None,
    };

    public VfioUserIrq GetIrq(int index) => index switch
    {
        VfioUserIrqs.Msix when _hasMsix => new VfioUserIrq(2, VfioUserIrqFlags.EventFd),
        VfioUserIrqs.Intx => new VfioUserIrq(1, VfioUserIrqFlags.EventFd | VfioUserIrqFlags.Maskable | VfioUserIrqFlags.AutoMasked),
        _ => default,
    };

    public void OnConnected(VfioUserSession session) => Session = session;

    public void OnDisconnected(string reason) => Session = null;

    public void OnDmaUnmapped(VfioUserDmaRegion region)
    {
    }

    public void ReadRegion(int region, ulong offset, Span<byte> destination)
    {
        if (destination.Length == 8 && offset == 32)
        {
            throw new VfioUserException(Errno.EINVAL, "no 64-bit access here");
        }

        Store(region, ref offset).Slice((int)offset, destination.Length).CopyTo(destination);
    }

    public void WriteRegion(int region, ulong offset, ReadOnlySpan<byte> source)
    {
        ulong at = offset;
        source.CopyTo(Store(region, ref at)[(int)at..]);
        if (region == 0 && offset == 8)
        {
            Span<byte> data = stackalloc byte[8];
            ulong iova = BinaryPrimitives.ReadUInt64LittleEndian(source);
            Session!.ReadDma(iova, data);
            BinaryPrimitives.WriteUInt64LittleEndian(data, BinaryPrimitives.ReadUInt64LittleEndian(data) + 1);
            Session.WriteDma(iova, data);
            if (_hasMsix)
            {
                Session.Interrupts.Trigger(VfioUserIrqs.Msix, 1);
            }
            else
            {
                Session.Interrupts.SetLevel(VfioUserIrqs.Intx, 0, true);
            }
        }
    }

    public void Reset() => Resets++;

    public void Dispose()
    {
        Memory.Dispose();
        _file.Dispose();
    }

    private Span<byte> Store(int region, ref ulong offset)
    {
        if (region == VfioUserRegions.Config)
        {
            return Config;
        }

        if (offset >= 0x2000)
        {
            offset -= 0x2000;
            return MsixTable;
        }

        return _registers;
    }
}

internal sealed class DeviceHarness : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vhost-").FullName;
    private VfioUserServer? _server;

    public DeviceHarness(bool hasMsix = true)
    {
        Model = new DmaDevice(hasMsix);
        Path = System.IO.Path.Combine(_directory, "d.sock");
        _server = new VfioUserServer(Path, Model);
    }

    public string Path { get; }

    public DmaDevice Model { get; }

    public void StopServer()
    {
        _server?.Dispose();
        _server = null;
    }

    public void Dispose()
    {
        StopServer();
        Model.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}
