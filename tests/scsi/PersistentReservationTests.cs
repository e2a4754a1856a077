using System.Buffers.Binary;

namespace Vhost.Scsi.Tests;

/// <summary>Persistent reservations among three initiators (SPC-4, section 5.13).</summary>
public sealed class PersistentReservationTests : IDisposable
{
    private const int Register = 0;
    private const int Reserve = 1;
    private const int Release = 2;
    private const int Clear = 3;
    private const int Preempt = 4;
    private const int RegisterAndIgnore = 6;

    private readonly Disk _disk = new();
    private readonly Initiator _a;
    private readonly Initiator _b;
    private readonly Initiator _c;

    public PersistentReservationTests()
    {
        _a = _disk.Initiator;
        _b = new Initiator(_disk.Registry, _disk.Port, "b").Settle();
        _c = new Initiator(_disk.Registry, _disk.Port, "c").Settle();
    }

    // Type, then what an initiator may do that is registered but does not hold it, and one that is not registered: read, write.
    public static TheoryData<int, string, string> Types => new()
    {
        { 1, "r-", "r-" },
        { 3, "--", "--" },
        { 5, "rw", "r-" },
        { 6, "rw", "--" },
        { 7, "rw", "r-" },
        { 8, "rw", "--" },
    };

    public void Dispose()
    {
        _b.Dispose();
        _c.Dispose();
        _disk.Dispose();
    }

    private static CommandResult Out(Initiator initiator, int action, ulong key, ulong actionKey = 0, int type = 0, byte flags = 0)
    {
        var list = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(list, key);
        BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), actionKey);
        list[20] = flags;
        return initiator.Run($"5F {action:X2} {type:X2} 00 00 00000018 00", list);
    }

    private static string In(Initiator initiator, int action)
    {
        var result = initiator.Run($"5E {action:X2} 00 00 00 00 00 0400 00", null, 1024).Good();
        return Convert.ToHexString(result.DataIn[..(int)result.TransferredBytes]);
    }

    private static void Conflict(CommandResult result) => Assert.Equal(ScsiStatus.ReservationConflict, result.Status);

    private static string Access(Initiator initiator)
    {
        var read = initiator.Run("28 00 00000000 00 0001 00", null, 512).Status;
        var write = initiator.Run("2A 00 00000000 00 0001 00", new byte[512]).Status;
        return (read == ScsiStatus.Good ? "r" : "-") + (write == ScsiStatus.Good ? "w" : "-");
    }

    private static void Attention(Initiator initiator, AdditionalSense additional)
        => initiator.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, additional);

    private static void NoAttention(Initiator initiator) => initiator.Run("00 00 00 00 00 00").Good();

    [Theory]
    [MemberData(nameof(Types))]
    public void Each_type_allows_what_it_says(int type, string registered, string unregistered)
    {
        Out(_a, Register, 0, 0xA).Good();
        Out(_b, Register, 0, 0xB).Good();
        Assert.Equal("rw", Access(_c));
        Out(_a, Reserve, 0xA, 0, type).Good();
        Assert.Equal("rw", Access(_a));
        Assert.Equal(registered, Access(_b));
        Assert.Equal(unregistered, Access(_c));

        // Whoever may not write may not do any of these either; and may do all of those.
        foreach (var cdb in (string[])["35 00 00000000 00 0000 00", "42 00 00000000 00 0000 00", "93 01 0000000000000000 00000001 00 00", "1A 08 08 00 FF 00"])
        {
            Conflict(_c.Run(cdb, new byte[512], 255));
        }

        foreach (var cdb in (string[])["12 00 00 00 60 00", "03 00 00 00 FF 00", "00 00 00 00 00 00", "25 00 00000000 00 0000 00", "1B 00 00 00 01 00", "4D 00 40 00 00 0000 0100 00"])
        {
            _c.Run(cdb, null, 256).Good();
        }

        Conflict(_c.Run("1B 00 00 00 00 00"));
        Out(_a, Release, 0xA, 0, type).Good();
        if (type >= 5)
        {
            Attention(_b, AdditionalSense.ReservationsReleased);
        }

        Assert.Equal(("rw", "rw"), (Access(_b), Access(_c)));
    }

    [Fact]
    public void Keys_are_registered_changed_and_removed()
    {
        Assert.Equal("0000000000000000", In(_a, 0));
        Conflict(Out(_a, Register, 5, 0xA));
        Out(_a, Register, 0, 0).Good();
        Assert.Equal("0000000000000000", In(_a, 0));
        Out(_a, Register, 0, 0xA).Good();
        Conflict(Out(_a, Register, 0, 0xAA));
        Out(_a, Register, 0xA, 0xAA).Good();
        Out(_b, RegisterAndIgnore, 99, 0xB).Good();
        Assert.Equal("00000003" + "00000010" + "00000000000000AA" + "000000000000000B", In(_c, 0));
        Out(_a, RegisterAndIgnore, 0, 0).Good();
        Assert.Equal("00000004" + "00000008" + "000000000000000B", In(_c, 0));
    }

    [Fact]
    public void Only_registrants_reserve_and_only_one_holds()
    {
        Conflict(Out(_a, Reserve, 0, 0, 1));
        Out(_a, Register, 0, 0xA).Good();
        Out(_b, Register, 0, 0xB).Good();
        Conflict(Out(_a, Reserve, 0xB, 0, 1));
        Out(_a, Reserve, 0xA, 0, 5).Good();
        Out(_a, Reserve, 0xA, 0, 5).Good();
        Conflict(Out(_a, Reserve, 0xA, 0, 1));
        Conflict(Out(_b, Reserve, 0xB, 0, 5));
        Assert.Equal("00000002" + "00000010" + "000000000000000A" + "0000000000050000", In(_c, 1));
        Out(_b, Release, 0xB, 0, 5).Good(); // holds nothing
        Out(_a, Release, 0xA, 0, 1).Check(SenseKey.IllegalRequest, AdditionalSense.InvalidReleaseOfPersistentReservation);
        Assert.Equal(24, In(_c, 1).Length / 2);
    }

    [Fact]
    public void A_holder_that_leaves_takes_the_reservation_along()
    {
        Out(_a, Register, 0, 0xA).Good();
        Out(_b, Register, 0, 0xB).Good();
        Out(_a, Reserve, 0xA, 0, 6).Good();
        Out(_a, Register, 0xA, 0).Good();
        Attention(_b, AdditionalSense.ReservationsReleased);
        Assert.Equal(("rw", "rw"), (Access(_a), Access(_c)));

        Out(_b, Reserve, 0xB, 0, 8).Good();
        Out(_c, Register, 0, 0xC).Good();
        Out(_b, Register, 0xB, 0).Good();
        Assert.Equal(("--", "--", "rw"), (Access(_a), Access(_b), Access(_c))); // all registrants: one is left
        Out(_c, Register, 0xC, 0).Good();
        Assert.Equal("rw", Access(_a));
    }

    [Fact]
    public void Preempt_takes_the_reservation_over()
    {
        Out(_a, Register, 0, 0xA).Good();
        Out(_b, Register, 0, 0xB).Good();
        Out(_c, Register, 0, 0xC).Good();
        Out(_a, Reserve, 0xA, 0, 5).Good();
        Out(_b, Preempt, 0xB, 0xA, 1).Good();
        Attention(_a, AdditionalSense.RegistrationsPreempted);
        Attention(_c, AdditionalSense.ReservationsReleased);
        Assert.Equal(("r-", "rw", "r-"), (Access(_a), Access(_b), Access(_c)));
        Conflict(Out(_a, Release, 0xA, 0, 1));
        Assert.Equal("000000000000000B" + "0000000000010000", In(_a, 1)[16..]);
    }

    [Fact]
    public void Preempt_of_another_removes_its_registration()
    {
        Out(_a, Register, 0, 0xA).Good();
        Out(_b, Register, 0, 0xB).Good();
        Out(_c, Register, 0, 0xC).Good();
        Out(_a, Reserve, 0xA, 0, 6).Good();
        Out(_b, Preempt, 0xB, 0xC, 6).Good();
        Attention(_c, AdditionalSense.RegistrationsPreempted);
        NoAttention(_a);
        Assert.Equal(("rw", "rw", "--"), (Access(_a), Access(_b), Access(_c)));
        Conflict(Out(_b, Preempt, 0xB, 0xC, 6));
        Out(_b, Preempt, 0xB, 0, 6).IllegalParameter(8);
    }

    [Fact]
    public void Preempt_of_all_registrants_takes_all()
    {
        Out(_a, Register, 0, 0xA).Good();
        Out(_b, Register, 0, 0xB).Good();
        Out(_a, Reserve, 0xA, 0, 7).Good();
        Assert.Equal("0000000000000000" + "0000000000070000", In(_c, 1)[16..]);
        Out(_b, Preempt, 0xB, 0, 3).Good();
        Attention(_a, AdditionalSense.RegistrationsPreempted);
        Assert.Equal(("--", "rw"), (Access(_a), Access(_b)));
        Out(_b, Preempt, 0xB, 0xB, 1).Good(); // of itself: changes the type
        Assert.Equal(("r-", "rw"), (Access(_a), Access(_b)));
    }

    [Fact]
    public void Preempt_and_abort_preempts()
    {
        Out(_a, Register, 0, 0xA).Good();
        Out(_b, Register, 0, 0xB).Good();
        Out(_a, Reserve, 0xA, 0, 5).Good();
        Out(_b, 5, 0xB, 0xA, 5).Good();
        Attention(_a, AdditionalSense.RegistrationsPreempted);
        Assert.Equal(("r-", "rw"), (Access(_a), Access(_b)));
    }

    [Fact]
    public void Clear_clears_everything()
    {
        Out(_a, Register, 0, 0xA).Good();
        Out(_b, Register, 0, 0xB).Good();
        Out(_a, Reserve, 0xA, 0, 3).Good();
        Out(_b, Clear, 0xB).Good();
        Attention(_a, AdditionalSense.ReservationsPreempted);
        NoAttention(_b);
        Assert.Equal("0000000300000000", In(_a, 0));
        Assert.Equal("rw", Access(_a));
    }

    [Fact]
    public void Reservations_survive_resets_and_the_initiator()
    {
        Out(_a, Register, 0, 0xA).Good();
        Out(_a, Reserve, 0xA, 0, 3).Good();
        _a.Target.OnPowerOn();
        _a.Nexus.Unit.Reset();
        Attention(_b, AdditionalSense.BusDeviceReset);
        Assert.Equal("--", Access(_b));
        _a.Settle();
        Attention(_a, AdditionalSense.BusDeviceReset);
        Assert.Equal("rw", Access(_a));

        // The controller goes and comes back under its name.
        _a.Target.Dispose();
        Assert.Equal("--", Access(_b));
        using var again = new Initiator(_disk.Registry, _disk.Port).Settle();
        Assert.Equal("rw", Access(again));
    }

    [Fact]
    public void Full_status_names_the_ports()
    {
        Out(_a, Register, 0, 0xA).Good();
        Out(_b, Register, 0, 0xB).Good();
        Out(_b, Reserve, 0xB, 0, 1).Good();
        var status = Convert.FromHexString(In(_c, 3));
        Assert.Equal(8 + (2 * 48), status.Length);
        Assert.Equal((0xA, 0, 0), (status[15], status[8 + 12], status[8 + 13]));
        Assert.Equal((0xB, 1, 1), (status[63], status[56 + 12], status[56 + 13]));
        Assert.Equal((0x06, 3), (status[8 + 24], status[8 + 28] >> 4));
        Assert.NotEqual(status[(8 + 28)..(8 + 36)], status[(56 + 28)..(56 + 36)]);
        Assert.NotEqual(status[8 + 19], status[56 + 19]);
        Assert.Equal("00080C80EA010000", In(_c, 2));
    }

    [Fact]
    public void What_is_not_offered_is_refused()
    {
        Out(_a, Register, 0, 0xA, flags: 0x01).IllegalParameter(20, 0); // APTPL
        Out(_a, Register, 0, 0xA, flags: 0x80).IllegalParameter(20, 7);
        Out(_a, RegisterAndIgnore, 0, 0xA, flags: 0x08).IllegalParameter(20, 3); // SPEC_I_PT
        Out(_a, 8, 0, 0xA).IllegalField(1, 4);
        _a.Run("5F 00 00 00 00 00000017 00", new byte[23]).Check(SenseKey.IllegalRequest, AdditionalSense.ParameterListLengthError);
        Out(_a, Register, 0, 0xA).Good();
        foreach (var type in (int[])[0, 2, 4, 9, 15])
        {
            Out(_a, Reserve, 0xA, 0, type).IllegalField(2, 3);
        }

        Out(_a, Reserve, 0xA, 0, 0x11).IllegalField(2, 7); // scope
    }

    [Fact]
    public void Both_kinds_of_reservation_exclude_each_other()
    {
        _a.Run("16 00 00 00 00 00").Good();
        Conflict(Out(_a, Register, 0, 0xA));
        Conflict(_b.Run("5E 00 00 00 00 00 00 0100 00", null, 256));
        _a.Run("17 00 00 00 00 00").Good();
        Out(_a, Register, 0, 0xA).Good();
        Conflict(_a.Run("16 00 00 00 00 00"));
        Conflict(_b.Run("17 00 00 00 00 00"));
    }
}
