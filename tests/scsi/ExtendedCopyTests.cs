using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.Scsi.Tests;

/// <summary>EXTENDED COPY (LID1) and RECEIVE COPY RESULTS (SPC-4, sections 5.17.7, 6.5, 6.22 and 6.24).</summary>
public sealed class ExtendedCopyTests : IDisposable
{
    private const int Unit = 16;
    private const int Segment = 16 + (2 * 32);

    private readonly Disk _disk = new();
    private readonly MemoryBdevPort _port = new("Disk1");
    private readonly Initiator _a;
    private readonly Initiator _b;

    public ExtendedCopyTests()
    {
        _a = _disk.Initiator;
        _b = new Initiator(_disk.Registry, _port, portName: "initiator:1").Settle();
        _a.Others.Add(_b);
        Disk.Pattern(_disk.Port.Data.Length).CopyTo(_disk.Port.Data);
    }

    private CopyList Both => new CopyList().Unit(_a).Unit(_b);

    public void Dispose()
    {
        _b.Dispose();
        _port.Dispose();
        _disk.Dispose();
    }

    private static CommandResult Status(Initiator initiator, int listId)
        => initiator.Run($"84 00 {listId:X2} 00 000000000000 00000100 00 00", null, 256);

    private static void Aborted(CommandResult result, AdditionalSense additional, int segment, int field)
    {
        result.Check(SenseKey.CopyAborted, additional);
        Assert.Equal((uint)segment, result.CommandSpecific);
        Assert.Equal((field, -1, false), result.Field);
    }

    [Fact]
    public void Blocks_are_copied_to_another_unit()
    {
        var list = Both.Segment(0, 1, 700, 3, 10).Segment(0, 1, 0, 0, 0).Segment(0, 1, 1, 2047, 2047, 0x02);
        var result = list.Run(_a).Good();
        Assert.Equal((ulong)list.Build().Length, result.TransferredBytes);
        Assert.Equal(_disk.Port.Data.Slice(3 * 512, 700 * 512).ToArray(), _port.Data.Slice(10 * 512, 700 * 512).ToArray());
        Assert.Equal(_disk.Port.Data[(2047 * 512)..].ToArray(), _port.Data[(2047 * 512)..].ToArray());
        Assert.Equal(-1, _port.Data[..(10 * 512)].IndexOfAnyExcept((byte)0));
        Assert.Equal(-1, _port.Data.Slice(710 * 512, 1000 * 512).IndexOfAnyExcept((byte)0));

        // Three segments, 701 blocks, without errors. It is told once.
        Assert.Equal("00000008" + "01" + "0003" + "00" + "00057A00", Convert.ToHexString(Status(_a, 1).Good().DataIn[..12]));
        Status(_a, 1).IllegalField(2);
    }

    [Theory]
    [InlineData(0, 100, 900)]
    [InlineData(100, 0, 900)]
    [InlineData(0, 1, 2047)]
    [InlineData(5, 5, 600)]
    [InlineData(0, 1000, 1000)]
    public void Ranges_that_overlap_are_copied_as_if_read_first(ulong from, ulong to, int count)
    {
        var expected = _disk.Port.Data.ToArray();
        expected.AsSpan((int)from * 512, count * 512).CopyTo(expected.AsSpan((int)to * 512));
        new CopyList().Unit(_a).Segment(0, 0, count, from, to).Run(_a).Good();
        Assert.Equal(expected, _disk.Port.Data.ToArray());
    }

    [Fact]
    public void Units_with_other_block_sizes_are_copied_between()
    {
        using var port = new MemoryBdevPort("Disk4k", 4096, 64);
        using var large = new Initiator(_disk.Registry, port, portName: "initiator:2").Settle();
        _a.Others.Add(large);
        new CopyList().Unit(_a).Unit(large, 4096).Segment(0, 1, 16, 8, 1).Segment(0, 1, 3, 64, 8, 0x02).Run(_a).Good();
        Assert.Equal(_disk.Port.Data.Slice(8 * 512, 16 * 512).ToArray(), port.Data.Slice(4096, 8192).ToArray());
        Assert.Equal(_disk.Port.Data.Slice(64 * 512, 3 * 4096).ToArray(), port.Data.Slice(8 * 4096, 3 * 4096).ToArray());
        Aborted(new CopyList().Unit(_a).Unit(large, 4096).Segment(0, 1, 9, 0, 0).Run(_a), AdditionalSense.UnexpectedInexactSegment, 0, Segment + 10);
        Aborted(new CopyList().Unit(_a).Unit(large).Segment(0, 1, 8, 0, 0).Run(_a), AdditionalSense.InvalidFieldInParameterList, 0, Unit + 32 + 29);
    }

    [Fact]
    public void What_is_outside_is_not_copied()
    {
        Aborted(Both.Segment(0, 1, 8, 0, 0).Segment(0, 1, 2, 2047, 0).Run(_a), AdditionalSense.LbaOutOfRange, 1, Segment + 28 + 12);
        Aborted(Both.Segment(0, 1, 2, 0, 2047).Run(_a), AdditionalSense.LbaOutOfRange, 0, Segment + 20);
        Aborted(Both.Segment(0, 1, 1, ulong.MaxValue, 0).Run(_a), AdditionalSense.LbaOutOfRange, 0, Segment + 12);
        Assert.Equal("02", Convert.ToHexString(Status(_a, 1).Good().DataIn[4..5]));
    }

    [Fact]
    public void A_unit_that_is_not_there_is_not_reachable()
    {
        byte[] nobody = [0x01, 0x03, 0x00, 0x08, 0x30, 1, 2, 3, 4, 5, 6, 7];
        Aborted(new CopyList().Unit(_a).Unit(nobody).Segment(0, 1, 1, 0, 0).Run(_a), AdditionalSense.CopyTargetDeviceNotReachable, 0, Unit + 32);

        // It goes away between two pieces.
        _a.AfterStep = () => _a.Others.Clear();
        var result = Both.Segment(0, 1, 2000, 0, 0).Run(_a);
        Aborted(result, AdditionalSense.CopyTargetDeviceNotReachable, 0, Unit + 32);
        Assert.Null(result.Information);
        _a.AfterStep = null;
        _a.Others.Add(_b);
        _b.Run("1B 00 00 00 00 00").Good();
        Aborted(Both.Segment(0, 1, 1, 0, 0).Run(_a), AdditionalSense.CopyTargetDeviceNotReachable, 0, Unit + 32);
    }

    [Theory]
    [InlineData(1)] // after the first piece was read
    [InlineData(4)] // after the second was written
    public void Another_disk_that_comes_to_the_place_of_a_destination_is_not_written(int step)
    {
        var info = _port.Info!;
        var steps = 0;
        _a.AfterStep = () =>
        {
            if (++steps == step)
            {
                _port.Change(null, BdevChange.Removed);
                _port.Change(info with { SerialNumber = "another" }, BdevChange.Appeared);
            }
        };
        var writes = _port.Counts[(int)BlockOperation.Write];
        Aborted(Both.Segment(0, 1, 2000, 0, 0).Run(_a), AdditionalSense.CopyTargetDeviceNotReachable, 0, Unit + 32);
        Assert.Equal(step / 2, _port.Counts[(int)BlockOperation.Write] - writes);
    }

    [Fact]
    public void A_failure_names_its_unit_and_what_remains()
    {
        _port.Fault = (operation, lba) => operation == BlockOperation.Write && lba >= 512 ? BlockStatus.IoError : null;
        var result = Both.Segment(0, 1, 10, 0, 0).Segment(0, 1, 2000, 0, 0).Run(_a);
        Aborted(result, AdditionalSense.ThirdPartyDeviceFailure, 1, Unit + 32);
        Assert.Equal(2000u - 512, result.Information); // two pieces of 128 KiB were written
        _port.Fault = null;
        _disk.Port.Fault = (operation, _) => operation == BlockOperation.Read ? BlockStatus.IoError : null;
        result = Both.Segment(0, 1, 10, 0, 0).Run(_a);
        Aborted(result, AdditionalSense.ThirdPartyDeviceFailure, 0, Unit);
        Assert.Null(result.Information);
    }

    [Fact]
    public void Reservations_and_write_protection_hold_for_copies_too()
    {
        using var other = new Initiator(_disk.Registry, _port, "other").Settle();
        var list = new byte[24];
        list[15] = 0xB;
        other.Run("5F 00 00 00 00 00000018 00", list).Good();
        list[7] = 0xB;
        other.Run("5F 01 01 00 00 00000018 00", list).Good();
        Aborted(Both.Segment(0, 1, 8, 0, 0).Run(_a), AdditionalSense.ThirdPartyDeviceFailure, 0, Unit + 32);
        Both.Segment(1, 0, 8, 0, 0).Run(_a).Good(); // write exclusive: it may be read

        // In the middle of a copy.
        other.Run("5F 02 01 00 00 00000018 00", list).Good();
        var steps = 0;
        _a.AfterStep = () =>
        {
            if (++steps == 3)
            {
                other.Run("5F 01 03 00 00 00000018 00", list).Good();
            }
        };
        Aborted(Both.Segment(0, 1, 2000, 0, 0).Run(_a), AdditionalSense.ThirdPartyDeviceFailure, 0, Unit + 32);
        Assert.Equal(1, _port.Counts[(int)BlockOperation.Write]);
        _a.AfterStep = null;
        Aborted(Both.Segment(1, 0, 8, 0, 0).Run(_a), AdditionalSense.ThirdPartyDeviceFailure, 0, Unit + 32);
        other.Run("5F 03 00 00 00 00000018 00", list).Good();

        _port.Change(_port.Info! with { IsReadOnly = true }, BdevChange.Changed);
        Aborted(Both.Segment(0, 1, 8, 0, 0).Run(_a), AdditionalSense.ThirdPartyDeviceFailure, 0, Unit + 32);
    }

    [Fact]
    public void A_copy_is_aborted_and_leaves_nothing_behind()
    {
        for (var i = 0; i < 100; i++)
        {
            _a.IsAborting = true;
            Assert.Equal(ServiceResponse.Aborted, Both.Segment(0, 1, 2000, 0, 0).Run(_a).Response);
            _a.IsAborting = false;
        }

        Assert.Equal(0, _port.Counts[(int)BlockOperation.Write]);
        Assert.Equal(2, Status(_a, 1).Good().DataIn[4]);
        Both.Segment(0, 1, 2000, 0, 0).Run(_a).Good();
    }

    [Fact]
    public void A_list_identifier_is_in_use_once()
    {
        CommandResult? second = null;
        byte[]? status = null;
        using var twin = new DeviceServerTwin(_a);
        var parameters = Both.Segment(0, 1, 1, 0, 0).Segment(0, 1, 2000, 0, 0).Build();
        _a.AfterStep = () =>
        {
            _a.AfterStep = null;
            second = twin.Run(parameters);
            status = twin.Run("84 00 01 00 000000000000 00000100 00 00", 256).DataIn[..12];
        };
        CopyList.Run(_a, parameters).Good();
        second!.Check(SenseKey.IllegalRequest, AdditionalSense.OperationInProgress);
        Assert.Equal(0, status![4]);
        Assert.Equal(1, Status(_a, 1).Good().DataIn[4]);

        // A reset forgets what has ended.
        Both.Segment(0, 1, 1, 0, 0).Run(_a).Good();
        _a.Nexus.Unit.Reset();
        _a.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.BusDeviceReset);
        Status(_a, 1).IllegalField(2);

        // Without identifier nothing is held.
        var list = Both.Segment(0, 1, 1, 0, 0);
        list.Flags = 0x18;
        list.ListId = 0;
        list.Run(_a).Good();
        Status(_a, 0).IllegalField(2);
    }

    [Fact]
    public void Lists_are_checked_before_anything_is_copied()
    {
        Assert.Equal(0UL, CopyList.Run(_a, []).Good().TransferredBytes);
        CopyList.Run(_a, new byte[15]).Check(SenseKey.IllegalRequest, AdditionalSense.ParameterListLengthError);
        CopyList.Run(_a, new byte[16]).Good();
        var good = Both.Segment(0, 1, 1, 0, 0).Build();
        CopyList.Run(_a, good[..^1]).Check(SenseKey.IllegalRequest, AdditionalSense.ParameterListLengthError);
        (int Byte, byte Value, AdditionalSense Additional, int Field, int Bit)[] cases =
        [
            (1, 0x80, AdditionalSense.InvalidFieldInParameterList, 1, 7),
            (1, 0x08, AdditionalSense.InvalidFieldInParameterList, 1, 4),
            (1, 0x18, AdditionalSense.InvalidFieldInParameterList, 0, -1),
            (3, 0x41, AdditionalSense.InvalidFieldInParameterList, 2, -1),
            (2, 0x10, AdditionalSense.TooManyTargetDescriptors, 2, -1),
            (4, 0x01, AdditionalSense.InvalidFieldInParameterList, 4, -1),
            (10, 0x10, AdditionalSense.TooManySegmentDescriptors, 8, -1),
            (15, 0x01, AdditionalSense.InlineDataLengthExceeded, 12, -1),
            (Unit, 0xE0, AdditionalSense.UnsupportedTargetDescriptorType, Unit, -1),
            (Unit + 1, 0x01, AdditionalSense.InvalidFieldInParameterList, Unit + 1, -1),
            (Unit + 7, 21, AdditionalSense.InvalidFieldInParameterList, Unit + 7, -1),
            (Unit + 28, 0x01, AdditionalSense.InvalidFieldInParameterList, Unit + 28, -1),
            (Segment, 0x00, AdditionalSense.UnsupportedSegmentDescriptorType, Segment, -1),
            (Segment + 1, 0x04, AdditionalSense.InvalidFieldInParameterList, Segment + 1, -1),
            (Segment + 3, 0x14, AdditionalSense.InvalidFieldInParameterList, Segment + 2, -1),
            (Segment + 5, 0x02, AdditionalSense.InvalidFieldInParameterList, Segment + 4, -1),
            (Segment + 6, 0x01, AdditionalSense.InvalidFieldInParameterList, Segment + 6, -1),
            (Segment + 9, 0x01, AdditionalSense.InvalidFieldInParameterList, Segment + 8, -1),
        ];
        foreach (var (at, value, additional, field, bit) in cases)
        {
            var list = (byte[])good.Clone();
            list[at] = value;
            var result = CopyList.Run(_a, list).Check(SenseKey.IllegalRequest, additional);
            Assert.Equal((field, bit, false), result.Field);
        }

        Assert.Equal(0, _port.Counts[(int)BlockOperation.Write]);
    }

    [Fact]
    public void The_limits_that_are_told_are_those_that_hold()
    {
        var parameters = _a.Run("84 03 00 00 000000000000 00000100 00 00", null, 256).Good();
        Assert.Equal(46UL, parameters.TransferredBytes);
        var data = parameters.DataIn.AsSpan();
        Assert.Equal((42, 1), (data[3], data[4]));
        var descriptors = BinaryPrimitives.ReadUInt16BigEndian(data[8..]);
        var segments = BinaryPrimitives.ReadUInt16BigEndian(data[10..]);
        var segmentBytes = BinaryPrimitives.ReadUInt32BigEndian(data[16..]);
        Assert.Equal((descriptors * 32) + (segments * 28), BinaryPrimitives.ReadInt32BigEndian(data[12..]));
        Assert.Equal("02E4", Convert.ToHexString(data.Slice(44, data[43])));

        var list = new CopyList();
        for (var i = 0; i < descriptors; i++)
        {
            list.Unit(i % 2 == 0 ? _a : _b);
        }

        for (var i = 0; i < segments; i++)
        {
            list.Segment(0, descriptors - 1, 1, (ulong)i, (ulong)i);
        }

        list.Run(_a).Good();
        list.Segment(0, 1, 1, 0, 0).Run(_a).Check(SenseKey.IllegalRequest, AdditionalSense.TooManySegmentDescriptors);

        using var port = new MemoryBdevPort("DiskLarge", 65536, 2048) { IsNull = true };
        using var large = new Initiator(_disk.Registry, port, portName: "initiator:3").Settle();
        _a.Others.Add(large);
        var most = (int)(segmentBytes / 65536);
        new CopyList().Unit(large, 65536).Segment(0, 0, most, 0, 1024).Run(_a).Good();
        Aborted(new CopyList().Unit(large, 65536).Segment(0, 0, most + 1, 0, 1024).Run(_a), AdditionalSense.InvalidFieldInParameterList, 0, 16 + 32 + 10);

        // The page says the same.
        var page = _a.Run("12 01 8F 01 00 00", null, 256).Good().DataIn;
        var text = Convert.ToHexString(page);
        Assert.Contains($"0004001C00000000{descriptors:X4}{segments:X4}", text, StringComparison.Ordinal);
        Assert.Contains("0008000402" + "02E4" + "00", text, StringComparison.Ordinal);
        Assert.Equal(0x08, _a.Run("12 00 00 00 24 00", null, 36).Good().DataIn[5] & 0x08);
    }

    // A second queue of the same initiator, which runs a command while the first has one under way.
    private sealed unsafe class DeviceServerTwin(Initiator initiator) : IDisposable
    {
        private readonly DeviceServer _server = new(initiator);

        public CommandResult Run(byte[] list) => Run($"83 00 0000000000000000 {list.Length:X8} 00 00", 0, list);

        public CommandResult Run(string cdb, int dataInLength, byte[]? dataOut = null)
        {
            dataOut ??= [];
            var dataIn = new byte[dataInLength];
            var task = default(ScsiTask);
            Convert.FromHexString(cdb.Replace(" ", string.Empty, StringComparison.Ordinal)).CopyTo(ScsiTask.CdbOf(&task));
            task.CdbLengthBytes = 32;
            fixed (byte* output = dataOut, input = dataIn)
            {
                var outSegment = new IoSegment(output, (nuint)dataOut.Length);
                var inSegment = new IoSegment(input, (nuint)dataInLength);
                task.DataOut = &outSegment;
                task.DataOutCount = 1;
                task.DataOutLengthBytes = (ulong)dataOut.Length;
                task.DataIn = &inSegment;
                task.DataInCount = 1;
                task.DataInLengthBytes = (ulong)dataInLength;
                Assert.Equal(ScsiAction.Done, _server.Begin(initiator.Nexus, &task));
            }

            return new CommandResult(task.Response, task.Status, ScsiTask.SenseOf(&task).ToArray(), dataIn, task.TransferredBytes);
        }

        public void Dispose() => _server.Dispose();
    }
}
