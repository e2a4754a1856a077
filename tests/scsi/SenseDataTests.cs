namespace Vhost.Scsi.Tests;

/// <summary>Sense data in both formats (SPC-4, section 4.5): the INFORMATION field has 32 bits in one and 64 in the other.</summary>
public sealed class SenseDataTests
{
    private static string Sense(bool descriptorFormat, ulong? information, SenseKeySpecific specific = default, ulong? commandSpecific = null)
    {
        Span<byte> sense = stackalloc byte[SenseBytes.LengthBytes];
        var length = SenseData.Write(sense, descriptorFormat, SenseKey.MediumError, AdditionalSense.UnrecoveredReadError, information, specific, commandSpecific);
        return Convert.ToHexString(sense[..length]);
    }

    [Theory]
    [InlineData(0x12345678UL, "F0" + "00" + "03" + "12345678" + "0A" + "00000000" + "1100" + "00000000")]
    [InlineData(0xFFFFFFFFUL, "F0" + "00" + "03" + "FFFFFFFF" + "0A" + "00000000" + "1100" + "00000000")]
    [InlineData(0x100000000UL, "70" + "00" + "03" + "00000000" + "0A" + "00000000" + "1100" + "00000000")]
    [InlineData(null, "70" + "00" + "03" + "00000000" + "0A" + "00000000" + "1100" + "00000000")]
    public void A_block_beyond_32_bits_is_not_named_in_fixed_format(ulong? information, string expected) => Assert.Equal(expected, Sense(false, information));

    [Theory]
    [InlineData(0x12345678UL, "72" + "03" + "1100" + "000000" + "0C" + "000A8000" + "0000000012345678")]
    [InlineData(0x123456789ABCUL, "72" + "03" + "1100" + "000000" + "0C" + "000A8000" + "0000123456789ABC")]
    [InlineData(null, "72" + "03" + "1100" + "000000" + "00")]
    public void Every_block_is_named_in_descriptor_format(ulong? information, string expected) => Assert.Equal(expected, Sense(true, information));

    [Fact]
    public void All_descriptors_together_fit_in_the_room_that_there_is()
        => Assert.Equal(
            "72" + "03" + "1100" + "000000" + "20" + "000A8000" + "0000000000000001" + "010A0000" + "0000000000000002" + "02060000" + "CA000700",
            Sense(true, 1, SenseKeySpecific.Cdb(7, 2), 2));
}
