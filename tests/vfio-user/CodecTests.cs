using System.Text;
using CsCheck;
using Vhost.Linux;

namespace Vhost.VfioUser.Tests;

public sealed class CodecTests
{
    [Fact]
    public void Headers_round_trip() =>
        Gen.Select(Gen.UShort, Gen.UShort, Gen.UInt, Gen.UInt, Gen.UInt).Sample((id, command, size, flags, error) =>
        {
            var header = new VfioUserHeader(id, (VfioUserCommand)command, size, flags, error);
            byte[] bytes = new byte[VfioUserHeader.Length];
            header.Write(bytes);
            return VfioUserHeader.Read(bytes) == header;
        });

    [Fact]
    public void A_header_has_the_published_bytes()
    {
        byte[] bytes = new byte[16];
        new VfioUserHeader(0x1234, VfioUserCommand.DmaMap, 0x30, 0x10, 0).Write(bytes);
        Assert.Equal("34120200300000001000000000000000", Convert.ToHexStringLower(bytes));
        VfioUserHeader error = VfioUserHeader.Read(bytes).ToError(Errno.EINVAL);
        Assert.True(error is { IsReply: true, IsError: true, Error: 22, MessageBytes: 16, Id: 0x1234 });
        Assert.True(VfioUserHeader.Read(bytes).WantsNoReply);
    }

    [Fact]
    public void Capabilities_round_trip()
    {
        var sent = new VfioUserCapabilities { MaxMessageFds = 16, MaxDataTransferBytes = 65536, MaxDmaMaps = 10, PageSizes = 4096, WriteMultiple = true };
        Assert.Equal(sent, VfioUserCapabilities.Decode(sent.Encode(1), out ushort minor));
        Assert.Equal(1, minor);
        Assert.Equal(new VfioUserCapabilities(), VfioUserCapabilities.Decode([0, 0, 1, 0], out _));
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("""{"capabilities":{"twin_socket":{"supported":true},"migration":{"pgsize":4096}}}""")]
    public void Unknown_and_absent_capabilities_have_the_defaults(string json) =>
        Assert.Equal(new VfioUserCapabilities(), VfioUserCapabilities.Decode(Version(json), out _));

    [Theory]
    [InlineData("[]", "object")]
    [InlineData("{", "malformed")]
    [InlineData("""{"capabilities":3}""", "object")]
    [InlineData("""{"capabilities":{"max_msg_fds":-1}}""", "max_msg_fds")]
    [InlineData("""{"capabilities":{"max_msg_fds":"8"}}""", "max_msg_fds")]
    [InlineData("""{"capabilities":{"max_data_xfer_size":1e99}}""", "max_data_xfer_size")]
    [InlineData("""{"capabilities":{"write_multiple":1}}""", "write_multiple")]
    [InlineData("""{"capabilities":{"a":[[[[[[[[[[1]]]]]]]]]]}}""", "malformed")]
    public void Bad_capabilities_are_named(string json, string name) =>
        Assert.Contains(name, Assert.Throws<VfioUserException>(() => VfioUserCapabilities.Decode(Version(json), out _)).Message, StringComparison.Ordinal);

    [Fact]
    public void Bad_version_payloads_are_refused()
    {
        Assert.Throws<VfioUserException>(() => VfioUserCapabilities.Decode([0, 0], out _));
        Assert.Throws<VfioUserException>(() => VfioUserCapabilities.Decode([1, 0, 0, 0], out _));
        Assert.Throws<VfioUserException>(() => VfioUserCapabilities.Decode([0, 0, 1, 0, (byte)'{', (byte)'}'], out _));
    }

    [Fact]
    public void Random_version_payloads_never_do_worse_than_be_refused() =>
        Gen.Byte.Array[0, 200].Sample(bytes =>
        {
            try
            {
                _ = VfioUserCapabilities.Decode(bytes, out _);
            }
            catch (VfioUserException e)
            {
                Assert.Equal(Errno.EINVAL, e.Error);
            }
        });

    [Fact]
    public void The_dma_table_finds_what_is_inside_one_region_and_refuses_overlap()
    {
        var table = new VfioUserDma();
        table.Add(new VfioUserDmaRegion(0x2000, 0x1000, true, false, null, 0x5000, null, 0));
        table.Add(new VfioUserDmaRegion(0x1000, 0x1000, true, true, null, 0x9000, null, 0));
        table.Add(new VfioUserDmaRegion(ulong.MaxValue - 0xfff, 0x1000, true, true, null, 0xa000, null, 0));
        Assert.True(table.TryTranslate(0x1ff0, 0x10, true, out nint address));
        Assert.Equal(0x9ff0, address);
        Assert.False(table.TryTranslate(0x1ff0, 0x11, false, out _));
        Assert.False(table.TryTranslate(0x2000, 1, true, out _));
        Assert.True(table.TryTranslate(ulong.MaxValue, 1, true, out _));
        Assert.False(table.TryTranslate(ulong.MaxValue, 2, true, out _));
        Assert.False(table.TryTranslate(0xfff, 1, false, out _));
        foreach ((ulong iova, ulong size) in new (ulong, ulong)[] { (0, 0x1001), (0x1fff, 1), (0x2fff, 0x10), (0, ulong.MaxValue) })
        {
            Assert.Equal(Errno.EEXIST, Assert.Throws<VfioUserException>(
                () => table.Add(new VfioUserDmaRegion(iova, size, true, true, null, 0, null, 0))).Error);
        }

        Assert.Throws<VfioUserException>(() => VfioUserDma.Check(2, ulong.MaxValue));
        Assert.Throws<VfioUserException>(() => VfioUserDma.Check(1, 0));
    }

    private static byte[] Version(string json) => [0, 0, 1, 0, .. Encoding.UTF8.GetBytes(json), 0];
}
