using Vhost.VfioUser;

namespace Vhost.Vvu.Tests;

/// <summary>Devices that look like a vvu device and are none, or a broken one.</summary>
public sealed class DetectionTests
{
    [Theory]
    [InlineData("fixed", "memory id, no BAR 2", "virtio-mem")]
    [InlineData("fixed", "memory id, small BAR 2", "virtio-mem")]
    [InlineData("fixed", "8 queues", "max_vhost_queues 8")]
    [InlineData("fixed", "disk", "virtio device 2 is not a vvu device")]
    [InlineData("capabilities", "no memory capability", "doorbells (6) without shared memory (8)")]
    [InlineData("capabilities", "odd stride", "the doorbells are 3 bytes apart")]
    [InlineData("capabilities", "doorbells past BAR", "does not fit BAR")]
    public async Task What_is_no_vvu_device_is_refused_by_name(string layout, string disguise, string reason)
    {
        await using var harness = new VvuHarness(layout, replace: device => new Disguise(device, disguise));
        var refusal = await Assert.ThrowsAnyAsync<IOException>(async () => await harness.Transport.StartAsync(harness.Device, CancellationToken.None));
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_modern_id_with_a_bar_of_64_GiB_is_a_vvu_device()
    {
        await using var harness = new VvuHarness("fixed", replace: device => new Disguise(device, "modern id"));
        await harness.Transport.StartAsync(harness.Device, CancellationToken.None);
        await VvuHarness.WaitForAsync(() => harness.Transport.Status == "waiting for the other VM", "the transport to take the device");
    }

    private sealed class Disguise(IVfioUserDevice device, string kind) : IVfioUserDevice
    {
        public VfioUserRegion GetRegion(int index) => (index, kind) switch
        {
            (2, "memory id, no BAR 2") => VfioUserRegion.None,
            (2, "memory id, small BAR 2") => new VfioUserRegion { Size = 1 << 30 },
            _ => device.GetRegion(index),
        };

        public VfioUserIrq GetIrq(int index) => device.GetIrq(index);

        public void OnConnected(VfioUserSession session) => device.OnConnected(session);

        public void OnDisconnected(string reason) => device.OnDisconnected(reason);

        public void OnDmaMapped(VfioUserDmaRegion region) => device.OnDmaMapped(region);

        public void OnDmaUnmapped(VfioUserDmaRegion region) => device.OnDmaUnmapped(region);

        public void OnIrqsChanged(int irqIndex) => device.OnIrqsChanged(irqIndex);

        public void Reset() => device.Reset();

        public void WriteRegion(int region, ulong offset, ReadOnlySpan<byte> source) => device.WriteRegion(region, offset, source);

        public void ReadRegion(int region, ulong offset, Span<byte> destination)
        {
            device.ReadRegion(region, offset, destination);
            if (region == VfioUserRegions.Config)
            {
                switch (kind)
                {
                    case "memory id, no BAR 2" or "memory id, small BAR 2" or "modern id":
                        Patch(destination, offset, 0x02, 0x58, 0x10);
                        break;
                    case "disk":
                        Patch(destination, offset, 0x2e, 2, 0);
                        break;
                    case "no memory capability":
                        Patch(destination, offset, 0x67, 0x20);
                        break;
                    case "odd stride":
                        Patch(destination, offset, 0x50, 3);
                        break;
                    case "doorbells past BAR":
                        // The offset's upper half: 0xf000_0000 is within 64 GiB, but not within BAR 1.
                        Patch(destination, offset, 0x44, 1);
                        Patch(destination, offset, 0x4b, 0xf0);
                        break;
                }
            }
            else if (region == 4 && kind == "8 queues")
            {
                Patch(destination, offset, 0x2004, 8, 0);
            }
        }

        private static void Patch(Span<byte> destination, ulong offset, ulong at, params ReadOnlySpan<byte> bytes)
        {
            for (int i = 0; i < bytes.Length; i++)
            {
                ulong position = at + (ulong)i - offset;
                if (position < (ulong)destination.Length)
                {
                    destination[(int)position] = bytes[i];
                }
            }
        }
    }
}
