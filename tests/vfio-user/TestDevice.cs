using System.Buffers.Binary;
using System.Collections.Concurrent;
using Vhost.Linux;

namespace Vhost.VfioUser.Tests;

/// <summary>
/// A device with 64 KiB of BAR 0: registers in the first page (trapped), memory in the second (mapped), a hole behind. Writing an IOVA to
/// register 8 makes it add 1 to each of the 16 bytes there and raise MSI-X vector 1; register 16 holds what was written last.
/// </summary>
internal sealed class TestDevice : IVfioUserDevice, IDisposable
{
    private readonly MemoryFile _file = MemoryFile.Create("bar0", 8192);

    public TestDevice() => Memory = MemoryMapping.MapShared(_file.Raw, 4096, 4096);

    public MemoryMapping Memory { get; }

    public byte[] Registers { get; } = new byte[4096];

    public byte[] Config { get; } = new byte[256];

    public EventFd Doorbell { get; } = EventFd.Create();

    public BlockingCollection<string> Events { get; } = [];

    public VfioUserSession? Session { get; private set; }

    public ulong MapOffset { get; set; }

    public VfioUserRegion GetRegion(int index) => index switch
    {
        VfioUserRegions.Bar0 => new VfioUserRegion
        {
            Size = 65536,
            MapFd = _file.Raw,
            MapOffset = MapOffset,
            MapAreas = [new VfioUserArea(4096, 4096)],
            IoEventFds = [new VfioUserIoEventFd(4, 4, Doorbell.Raw, 7)],
        },
        VfioUserRegions.Config => new VfioUserRegion { Size = 256 },
        VfioUserRegions.Rom => new VfioUserRegion { Size = 4096, IsWritable = false },
        _ => VfioUserRegion.None,
    };

    public VfioUserIrq GetIrq(int index) => index switch
    {
        VfioUserIrqs.Intx => new VfioUserIrq(1, VfioUserIrqFlags.EventFd | VfioUserIrqFlags.Maskable | VfioUserIrqFlags.AutoMasked),
        VfioUserIrqs.Msix => new VfioUserIrq(8, VfioUserIrqFlags.EventFd | VfioUserIrqFlags.NoResize),
        _ => default,
    };

    public void OnConnected(VfioUserSession session)
    {
        Session = session;
        Events.Add("connected");
    }

    public void OnDisconnected(string reason)
    {
        Session = null;
        Events.Add("disconnected");
    }

    public void ReadRegion(int region, ulong offset, Span<byte> destination) =>
        Store(region).AsSpan((int)offset, destination.Length).CopyTo(destination);

    public void WriteRegion(int region, ulong offset, ReadOnlySpan<byte> source)
    {
        source.CopyTo(Store(region).AsSpan((int)offset));
        if (region == VfioUserRegions.Bar0 && offset == 8)
        {
            ulong iova = BinaryPrimitives.ReadUInt64LittleEndian(source);
            Span<byte> data = stackalloc byte[16];
            Session!.ReadDma(iova, data);
            for (int i = 0; i < data.Length; i++)
            {
                data[i]++;
            }

            Session.WriteDma(iova, data);
            Session.Interrupts.Trigger(VfioUserIrqs.Msix, 1);
        }
        else if (region == VfioUserRegions.Bar0 && offset == 24)
        {
            throw new InvalidOperationException("the device's own fault");
        }
    }

    public void OnDmaMapped(VfioUserDmaRegion region) => Events.Add($"mapped {region.Iova:x}+{region.Size:x}");

    public void OnDmaUnmapped(VfioUserDmaRegion region) => Events.Add($"unmapped {region.Iova:x}+{region.Size:x}");

    public void Reset()
    {
        Array.Clear(Registers);
        Events.Add("reset");
    }

    public void Expect(string text)
    {
        Assert.True(Events.TryTake(out string? seen, 10_000), $"'{text}' did not happen");
        Assert.Equal(text, seen);
    }

    public void Dispose()
    {
        Memory.Dispose();
        _file.Dispose();
        Doorbell.Dispose();
        Events.Dispose();
    }

    private byte[] Store(int region) => region == VfioUserRegions.Bar0 ? Registers : Config;
}
