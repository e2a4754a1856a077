using System.Buffers.Binary;
using CsCheck;

namespace Vhost.Scsi.Tests;

/// <summary>What holds for every CDB.</summary>
public sealed class CdbRulesTests
{
    private static List<(byte Code, int ServiceAction, int Length)> Commands(Disk disk)
    {
        var all = disk.Run("A3 0C 00 00 0000 00002000 00 00", null, 8192).Good();
        var length = BinaryPrimitives.ReadInt32BigEndian(all.DataIn) + 4;
        Assert.Equal((ulong)length, all.TransferredBytes);
        List<(byte, int, int)> commands = [];
        for (var i = 4; i < length; i += 8)
        {
            var entry = all.DataIn.AsSpan(i);
            commands.Add((entry[0], (entry[5] & 1) != 0 ? BinaryPrimitives.ReadUInt16BigEndian(entry[2..]) : -1, BinaryPrimitives.ReadUInt16BigEndian(entry[6..])));
        }

        return commands;
    }

    private static byte[] Usage(Disk disk, byte code, int serviceAction)
    {
        var result = disk.Run($"A3 0C {(serviceAction < 0 ? 1 : 2):X2} {code:X2} {Math.Max(0, serviceAction):X4} 00000100 00 00", null, 256).Good();
        Assert.Equal(3, result.DataIn[1] & 7);
        return result.DataIn[4..(4 + BinaryPrimitives.ReadUInt16BigEndian(result.DataIn.AsSpan(2)))];
    }

    [Fact]
    public void All_commands_of_the_main_job_are_listed()
    {
        using var disk = new Disk();
        var codes = Commands(disk).Select(command => command.Code).ToHashSet();
        byte[] expected =
        [
            0x00, 0x03, 0x08, 0x0A, 0x12, 0x15, 0x1A, 0x1B, 0x25, 0x28, 0x2A, 0x2F, 0x35, 0x41, 0x42, 0x55, 0x5A, 0x88, 0x89, 0x8A, 0x8F, 0x91, 0x93,
            0x9E, 0xA0, 0xA3, 0xA8, 0xAA, 0xAF,
        ];
        Assert.Empty(expected.Except(codes));
    }

    [Fact]
    public void Every_bit_that_a_command_does_not_use_must_be_zero()
    {
        using var disk = new Disk();
        var checkedBits = 0;
        foreach (var (code, serviceAction, length) in Commands(disk))
        {
            var usage = Usage(disk, code, serviceAction);
            Assert.Equal(length, usage.Length);
            Assert.Equal(code, usage[0]);
            for (var index = 1; index < length; index++)
            {
                for (var bit = 0; bit < 8; bit++)
                {
                    if ((usage[index] & (1 << bit)) != 0 || (serviceAction >= 0 && index == 1 && bit < 5))
                    {
                        continue;
                    }

                    var cdb = new byte[length];
                    cdb[0] = code;
                    cdb[1] = (byte)Math.Max(0, serviceAction);
                    cdb[index] |= (byte)(1 << bit);
                    disk.Initiator.Run(cdb, new byte[4096], 4096).IllegalField(index, bit);
                    checkedBits++;
                }
            }
        }

        Assert.True(checkedBits > 500, $"only {checkedBits} bits were checked");
    }

    [Fact]
    public void Operation_codes_that_are_not_listed_are_refused()
    {
        using var disk = new Disk();
        var codes = Commands(disk).Select(command => command.Code).ToHashSet();
        for (var code = 0; code < 256; code++)
        {
            if (!codes.Contains((byte)code))
            {
                disk.Initiator.Run([(byte)code, .. new byte[15]], new byte[512], 512).Check(SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode);
                Assert.Equal(1, disk.Run($"A3 0C 03 {code:X2} 0000 00000100 00 00", null, 256).Good().DataIn[1]);
            }
        }
    }

    [Theory]
    [InlineData(0x9E)]
    [InlineData(0xA3)]
    public void Service_actions_that_are_not_listed_are_a_wrong_field(byte code)
    {
        using var disk = new Disk();
        var known = Commands(disk).Where(command => command.Code == code).Select(command => command.ServiceAction).ToHashSet();
        for (var action = 0; action < 32; action++)
        {
            if (!known.Contains(action))
            {
                disk.Initiator.Run([code, (byte)action, .. new byte[14]], null, 512).IllegalField(1, 4);
            }
        }
    }

    [Fact]
    public void Supported_operations_are_reported_in_each_form()
    {
        using var disk = new Disk();
        Assert.Equal("0003000A" + "281CFFFFFFFF1FFFFF00", Report("A3 0C 01 28 0000 00000100 00 00"));
        Assert.Equal("0003000A" + "281CFFFFFFFF1FFFFF00", Report("A3 0C 03 28 0000 00000100 00 00"));
        Assert.Equal("0083000A" + "281CFFFFFFFF1FFFFF00" + "000A00000000000000000000", Report("A3 0C 81 28 0000 00000100 00 00"));
        Assert.Equal("00030010" + "9E100000000000000000FFFFFFFF0000", Report("A3 0C 02 9E 0010 00000100 00 00"));
        Assert.Equal("00010000", Report("A3 0C 02 9E 0011 00000100 00 00"));
        Assert.Equal("00010000", Report("A3 0C 03 28 0001 00000100 00 00"));
        Assert.Equal("00010000", Report("A3 0C 01 FF 0000 00000100 00 00"));
        disk.Run("A3 0C 01 9E 0000 00000100 00 00", null, 256).IllegalField(2, 2);
        disk.Run("A3 0C 02 28 0000 00000100 00 00", null, 256).IllegalField(2, 2);
        disk.Run("A3 0C 04 28 0000 00000100 00 00", null, 256).IllegalField(2, 2);
        Assert.Equal("DC030000", Report("A3 0D 00 000000 00000100 00 00"));
        Assert.Equal("DC03000C000000000000000000000000", Report("A3 0D 80 000000 00000100 00 00"));

        string Report(string cdb)
        {
            var result = disk.Run(cdb, null, 256).Good();
            return Convert.ToHexString(result.DataIn[..(int)result.TransferredBytes]);
        }
    }

    [Fact]
    public void Log_pages_are_there()
    {
        using var disk = new Disk();
        Assert.Equal("000000090002", Convert.ToHexString(disk.Run("4D 00 40 00 00 0000 0100 00", null, 256).Good().DataIn[..6]));
        Assert.Equal("2F000008", Convert.ToHexString(disk.Run("4D 00 6F 00 00 0000 0100 00", null, 256).Good().DataIn[..4]));
        disk.Run("4D 00 4C 00 00 0000 0100 00", null, 256).IllegalField(2, 5);
        disk.Run("4D 01 40 00 00 0000 0100 00", null, 256).IllegalField(1, 0);
        disk.Run("1D 04 00 0000 00").Good();
        disk.Run("1D 24 00 0000 00").IllegalField(1, 7);
        disk.Run("1D 00 00 0001 00", new byte[1]).IllegalField(3);
    }

    [Fact]
    public void No_cdb_does_harm()
    {
        using var disk = new Disk();
        var codes = Commands(disk).Select(command => command.Code).ToArray();

        // Known operation codes mostly, fields that are mostly small, anything at all besides.
        var operation = Gen.Frequency((9, Gen.OneOf([.. codes.Select(code => Gen.Const(code))])), (1, Gen.Byte));
        var field = Gen.Frequency((6, Gen.Const((byte)0)), (2, Gen.Byte[0, 16]), (2, Gen.Byte));
        var serviceAction = Gen.OneOf([.. new byte[] { 0x00, 0x01, 0x02, 0x08, 0x09, 0x0C, 0x0D, 0x10, 0x12, 0x18 }.Select(value => Gen.Const(value))]);
        var sample = Gen.Select(operation, Gen.Frequency((2, serviceAction), (1, field)), field.Array[30], Gen.Int[0, 3000], Gen.Int[0, 3000], Gen.Int[1, 600]);
        sample.Sample(
            (code, second, rest, outLength, inLength, pieceLength) =>
            {
                disk.Initiator.PieceLength = pieceLength;
                var result = disk.Initiator.Run([code, second, .. rest], Disk.Pattern(outLength), inLength);
                CheckWellFormed(result, outLength, inLength);
            },
            iter: 20_000,
            threads: 1);
    }

    [Fact]
    public void No_parameter_list_does_harm()
    {
        using var disk = new Disk();
        var cdb = Gen.OneOf(
            Gen.Byte[0, 255].Select(length => new byte[] { 0x15, 0x10, 0, 0, length, 0 }),
            Gen.Byte[0, 255].Select(length => new byte[] { 0x55, 0x10, 0, 0, 0, 0, 0, 0, length, 0 }),
            Gen.Byte[0, 255].Select(length => new byte[] { 0x42, 0, 0, 0, 0, 0, 0, 0, length, 0 }));
        var list = Gen.Frequency((5, Gen.Const((byte)0)), (3, Gen.OneOf([.. new byte[] { 0x08, 0x0A, 0x12, 0x10, 0x18, 0x20 }.Select(value => Gen.Const(value))])), (1, Gen.Byte)).Array[255];
        Gen.Select(cdb, list).Sample(
            (command, data) => CheckWellFormed(disk.Initiator.Run(command, data), data.Length, 0),
            iter: 10_000,
            threads: 1);
    }

    private static void CheckWellFormed(CommandResult result, int outLength, int inLength)
    {
        Assert.True(result.TransferredBytes <= (ulong)(outLength + inLength));
        if (result.Response != ServiceResponse.Complete)
        {
            Assert.Equal(ServiceResponse.Overrun, result.Response);
            Assert.Equal(0UL, result.TransferredBytes);
            return;
        }

        Assert.True(result.Status is ScsiStatus.Good or ScsiStatus.CheckCondition, $"{result.Status}");
        if (result.Status == ScsiStatus.Good)
        {
            Assert.Empty(result.Sense);
            return;
        }

        Assert.NotEqual(SenseKey.HardwareError, result.Key);
        Assert.Equal(0UL, result.TransferredBytes);
        if (result.IsDescriptorSense)
        {
            Assert.Equal(result.Sense.Length, result.Sense[7] + 8);
        }
        else
        {
            Assert.Equal(18, result.Sense.Length);
            Assert.Equal(0x70, result.Sense[0] & 0x7F);
            Assert.Equal(10, result.Sense[7]);
        }

        Assert.True(Enum.IsDefined(result.Key));
        Assert.True(Enum.IsDefined(result.Additional));
    }
}
