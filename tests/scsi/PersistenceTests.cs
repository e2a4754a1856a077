using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.Scsi.Tests;

/// <summary>Persistent reservations through a loss of power (APTPL; SPC-4, section 5.13.5).</summary>
public sealed class PersistenceTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vhostd-reservations-").FullName;
    private readonly string _store;

    public PersistenceTests() => _store = Path.Combine(_directory, "kept");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    // Another run of the process: nothing is left but the directory.
    private Machine Start(string bdev = "Disk0") => new(_store, bdev);

    private static CommandResult Out(Initiator initiator, int action, byte key, byte actionKey = 0, int type = 0, byte flags = 0)
    {
        var list = new byte[24];
        list[7] = key;
        list[15] = actionKey;
        list[20] = flags;
        return initiator.Run($"5F {action:X2} {type:X2} 00 00 00000018 00", list);
    }

    private static string In(Initiator initiator, int action)
    {
        var result = initiator.Run($"5E {action:X2} 00 00 00 00 00 0400 00", null, 1024).Good();
        return Convert.ToHexString(result.DataIn[..(int)result.TransferredBytes]);
    }

    private static ScsiStatus Write(Initiator initiator) => initiator.Run("2A 00 00000000 00 0001 00", new byte[512]).Status;

    [Fact]
    public void Reservations_hold_after_a_restart()
    {
        using (var first = Start())
        {
            Out(first.A, 0, 0, 0xA, flags: 1).Good();
            Out(first.B, 0, 0, 0xB, flags: 1).Good();
            Out(first.A, 1, 0xA, 0, 3).Good();
            Assert.Equal("00080D81EA010000", In(first.A, 2));
        }

        // Controllers attach in another order, and get other port numbers.
        using var second = new Machine(_store, "Disk0", reverse: true);
        Assert.Equal(ScsiStatus.ReservationConflict, Write(second.B));
        Assert.Equal(ScsiStatus.Good, Write(second.A));
        Assert.Equal("00000000" + "00000010" + "000000000000000A" + "000000000000000B", In(second.B, 0));
        Assert.Equal("000000000000000A" + "0000000000030000", In(second.B, 1)[16..]);
        var status = Convert.FromHexString(In(second.B, 3));
        Assert.Equal((2, 1), (status[8 + 19], status[56 + 19]));

        // Nothing of it is another disk's.
        using var other = Start("Disk1");
        Assert.Equal(ScsiStatus.Good, Write(other.B));
        Assert.Equal("00080D80EA010000", In(other.A, 2));
    }

    [Fact]
    public void The_last_registration_says_whether_they_persist()
    {
        using (var first = Start())
        {
            Out(first.A, 0, 0, 0xA, flags: 1).Good();
            Out(first.A, 1, 0xA, 0, 3).Good();
            Assert.Single(Directory.GetFiles(_store));
            Out(first.B, 0, 0, 0xB).Good();
            Assert.Empty(Directory.GetFiles(_store));
        }

        using (var second = Start())
        {
            Assert.Equal("0000000000000000", In(second.A, 0));
            Out(second.A, 6, 0, 0xA, flags: 1).Good();
            Out(second.A, 3, 0xA).Good();
            Assert.Empty(Directory.GetFiles(_store));
        }
    }

    [Fact]
    public void What_each_service_action_leaves_is_kept()
    {
        using (var machine = Start())
        {
            Out(machine.A, 0, 0, 0xA, flags: 1).Good();
            Out(machine.B, 0, 0, 0xB, flags: 1).Good();
            Out(machine.A, 1, 0xA, 0, 7).Good();
        }

        using (var machine = Start())
        {
            Assert.Equal("0000000000000000" + "0000000000070000", In(machine.A, 1)[16..]);
            Out(machine.B, 5, 0xB, 0, 1).Good();
        }

        using (var machine = Start())
        {
            Assert.Equal("000000000000000B" + "0000000000010000", In(machine.A, 1)[16..]);
            Assert.Equal(ScsiStatus.ReservationConflict, Write(machine.A));
            Out(machine.B, 2, 0xB, 0, 1).Good();
        }

        using (var machine = Start())
        {
            Assert.Equal("0000000000000000", In(machine.A, 1));
            Assert.Equal("000000000000000B", In(machine.A, 0)[16..]);
        }
    }

    [Fact]
    public void A_bdev_that_appears_later_is_reserved_from_its_first_moment()
    {
        using (var first = Start())
        {
            Out(first.A, 0, 0, 0xA, flags: 1).Good();
            Out(first.A, 1, 0xA, 0, 3).Good();
        }

        using var second = new Machine(_store, "Disk0", isPresent: false);
        var info = second.Info;
        second.Port.Change(info, BdevChange.Appeared);
        second.B.Settle();
        Assert.Equal(ScsiStatus.ReservationConflict, Write(second.B));

        // Another disk takes its place: the reservations are not its own. Then the first is back.
        second.Port.Change(info with { SerialNumber = "another" }, BdevChange.Appeared);
        second.B.Settle();
        Assert.Equal(ScsiStatus.Good, Write(second.B));
        second.Port.Change(info, BdevChange.Appeared);
        second.B.Settle();
        Assert.Equal(ScsiStatus.ReservationConflict, Write(second.B));
    }

    [Theory]
    [InlineData("checksum", "its checksum is missing or wrong")]
    [InlineData("cut", "its checksum is missing or wrong")]
    [InlineData("empty", "it does not begin with")]
    [InlineData("version", "it does not begin with")]
    [InlineData("name", "it is that of another unit")]
    public void A_damaged_file_is_refused_by_name(string damage, string reason)
    {
        using (var first = Start())
        {
            Out(first.A, 0, 0, 0xA, flags: 1).Good();
        }

        var file = Directory.GetFiles(_store).Single();
        var text = File.ReadAllText(file);
        var bad = damage == "name" ? Path.Combine(_store, "naa.3000000000000000.reservations") : file;
        File.WriteAllText(bad, damage switch
        {
            "checksum" => text.Replace("a\nsha256", "b\nsha256", StringComparison.Ordinal),
            "cut" => text[..^40],
            "empty" => "",
            "version" => text.Replace("reservations 1", "reservations 2", StringComparison.Ordinal),
            _ => text,
        });
        var exception = Assert.Throws<InvalidDataException>(() => ReservationStore.Open(_store, NullLogger.Instance));
        Assert.Contains(bad, exception.Message, StringComparison.Ordinal);
        Assert.Contains(reason, exception.Message, StringComparison.Ordinal);
        Assert.Equal(exception.Message, ReservationStore.FindFault(_store));
    }

    /// <summary>A change writes a file beside the one that counts, and puts it in its place. The process may end after each byte of that.</summary>
    [Fact]
    public void A_change_that_was_cut_short_anywhere_leaves_what_was()
    {
        using (var first = Start())
        {
            Out(first.A, 0, 0, 0xA, flags: 1).Good();
        }

        var file = Directory.GetFiles(_store).Single();
        var former = File.ReadAllBytes(file);
        using (var first = Start())
        {
            Out(first.A, 6, 0, 0xC, flags: 1).Good();
        }

        var next = File.ReadAllBytes(file);
        Assert.NotEqual(former, next);
        File.WriteAllBytes(file, former);
        for (var length = 0; length <= next.Length; length++)
        {
            File.WriteAllBytes(file + ".new", next[..length]);
            Assert.Null(ReservationStore.FindFault(_store));
        }

        // What was left behind is in nobody's way.
        using (var second = Start())
        {
            Assert.Equal("000000000000000A", In(second.A, 0)[16..]);
            Out(second.A, 6, 0, 0xC, flags: 1).Good();
            Assert.Equal([file], Directory.GetFiles(_store));
            Assert.Equal(next, File.ReadAllBytes(file));
        }
    }

    [Fact]
    public void What_cannot_be_kept_is_an_error_for_the_initiator()
    {
        using var machine = Start();
        Out(machine.A, 0, 0, 0xA, flags: 1).Good();
        Directory.Delete(_store, recursive: true);
        File.WriteAllText(_store, "in the way");
        Out(machine.A, 1, 0xA, 0, 3).Check(SenseKey.HardwareError, AdditionalSense.InternalTargetFailure);
        Assert.Contains("was not written", machine.Log.Messages.Single(), StringComparison.Ordinal);
        File.Delete(_store);
        Directory.CreateDirectory(_store);
        Out(machine.A, 1, 0xA, 0, 3).Good();
        Assert.Single(Directory.GetFiles(_store));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Directory.GetFiles(_store)[0]));
    }

    [Fact]
    public void One_bdev_keeps_its_reservations_in_one_place()
    {
        using var machine = Start();
        Assert.Contains(
            "two places",
            Assert.Throws<ArgumentException>(() => new Initiator(machine.Registry, machine.Port, "c")).Message,
            StringComparison.Ordinal);
    }

    private sealed class Machine : IDisposable
    {
        public Machine(string directory, string bdev, bool reverse = false, bool isPresent = true)
        {
            Port = new MemoryBdevPort(bdev);
            Info = Port.Info!;
            if (!isPresent)
            {
                Port.Change(null, BdevChange.Removed);
            }

            var store = Registry.OpenStore(directory, Log);
            string[] names = reverse ? ["b", "a"] : ["a", "b"];
            var initiators = names.Select(name => new Initiator(Registry, Port, name, store: store)).ToArray();
            (A, B) = reverse ? (initiators[1], initiators[0]) : (initiators[0], initiators[1]);
            if (isPresent)
            {
                A.Settle();
                B.Settle();
            }
        }

        public LogicalUnitRegistry Registry { get; } = new();

        public MessageList Log { get; } = new();

        public MemoryBdevPort Port { get; }

        public BdevInfo Info { get; }

        public Initiator A { get; }

        public Initiator B { get; }

        public void Dispose()
        {
            A.Dispose();
            B.Dispose();
            Port.Dispose();
        }
    }

    private sealed class MessageList : ILogger
    {
        public List<string> Messages { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (Messages)
            {
                Messages.Add(formatter(state, exception));
            }
        }
    }
}
