using System.Buffers.Binary;

namespace Vhost.Scsi.Tests;

/// <summary>Registering others, at all ports, and handing a reservation over (SPC-4, sections 5.13.7 and 5.13.8).</summary>
public sealed class RegistrationTests : IDisposable
{
    private readonly Disk _disk = new();
    private readonly Initiator _a;
    private readonly Initiator _b;

    public RegistrationTests()
    {
        _a = _disk.Initiator;
        _b = new Initiator(_disk.Registry, _disk.Port, "b").Settle();
    }

    public void Dispose()
    {
        _b.Dispose();
        _disk.Dispose();
    }

    private static CommandResult Out(Initiator initiator, int action, ulong key, ulong actionKey, int type, byte flags, params byte[][] names)
    {
        var list = new byte[24 + ((flags & 0x08) != 0 ? 4 + (24 * names.Length) : 0)];
        BinaryPrimitives.WriteUInt64BigEndian(list, key);
        BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), actionKey);
        list[20] = flags;
        if ((flags & 0x08) != 0)
        {
            list[27] = (byte)(24 * names.Length);
            names.SelectMany(name => name).ToArray().CopyTo(list, 28);
        }

        return initiator.Run($"5F {action:X2} {type:X2} 00 00 {list.Length:X8} 00", list);
    }

    private static CommandResult Move(Initiator initiator, ulong key, ulong newKey, int port, byte[] name, byte flags = 0)
    {
        var list = new byte[24 + name.Length];
        BinaryPrimitives.WriteUInt64BigEndian(list, key);
        BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), newKey);
        list[17] = flags;
        BinaryPrimitives.WriteUInt16BigEndian(list.AsSpan(18), (ushort)port);
        list[23] = (byte)name.Length;
        name.CopyTo(list, 24);
        return initiator.Run($"5F 07 00 00 00 {list.Length:X8} 00", list);
    }

    private static byte[] In(Initiator initiator, int action)
    {
        var result = initiator.Run($"5E {action:X2} 00 00 00 00 00 0400 00", null, 1024).Good();
        return result.DataIn[..(int)result.TransferredBytes];
    }

    private static ulong[] Keys(Initiator initiator)
        => [.. In(initiator, 0)[8..].Chunk(8).Select(key => BinaryPrimitives.ReadUInt64BigEndian(key))];

    // An initiator's name and port as READ FULL STATUS tells them of a registration of its own.
    private static (byte[] Name, int Port) NameOf(Initiator initiator)
    {
        Out(initiator, 6, 0, 0x77, 0, 0).Good();
        var descriptor = In(initiator, 3)[8..].Chunk(48).Single(one => one[7] == 0x77);
        Out(initiator, 6, 0, 0, 0, 0).Good();
        return (descriptor[24..], BinaryPrimitives.ReadUInt16BigEndian(descriptor.AsSpan(18)));
    }

    [Fact]
    public void Registering_at_all_ports_is_registering_at_each()
    {
        using var other = new MemberOf(_disk, "initiator", 1);
        Out(_a, 0, 0, 0xA, 0, 0x04).Good();
        Assert.Equal([0xAUL, 0xAUL], Keys(_b));
        Out(_a, 1, 0xA, 0, 5, 0).Good();
        Assert.Equal(ScsiStatus.Good, other.Initiator.Run("2A 00 00000000 00 0001 00", new byte[512]).Status);
        Assert.Equal(ScsiStatus.ReservationConflict, _b.Run("2A 00 00000000 00 0001 00", new byte[512]).Status);

        // One port with another key is a conflict of the whole; ignoring the keys it is none.
        Out(other.Initiator, 0, 0xA, 0xB, 0, 0).Good();
        Assert.Equal(ScsiStatus.ReservationConflict, Out(_a, 0, 0xA, 0xC, 0, 0x04).Status);
        Assert.Equal([0xAUL, 0xBUL], Keys(_b));
        Out(_a, 6, 0, 0xC, 0, 0x04).Good();
        Assert.Equal([0xCUL, 0xCUL], Keys(_b));
        Out(_a, 0, 0xC, 0, 0, 0x04).Good();
        Assert.Empty(Keys(_b));
    }

    [Fact]
    public void Other_initiators_are_registered_by_name()
    {
        var (name, _) = NameOf(_b);
        Out(_a, 0, 0, 0xA, 0, 0x0C, name).Good();
        // Both initiators at both ports of the disk: a's own at its own is one of them.
        Assert.Equal([0xAUL, 0xAUL, 0xAUL], Keys(_a));
        Out(_a, 1, 0xA, 0, 5, 0).Good();
        _b.Run("2A 00 00000000 00 0001 00", new byte[512]).Good();

        // Who is registered brings nobody along; nor does who registers nothing; nor is a name taken that nobody has.
        Out(_a, 0, 0xA, 0xA, 0, 0x08, name).IllegalParameter(20, 3);
        Out(_a, 3, 0xA, 0, 0, 0).Good();
        Out(_a, 0, 0, 0, 0, 0x08, name).IllegalParameter(20, 3);
        var wrong = (byte[])name.Clone();
        wrong[11] ^= 1;
        Out(_a, 0, 0, 0xA, 0, 0x08, name, wrong).IllegalParameter(28 + 24);
        wrong = (byte[])name.Clone();
        wrong[0] = 0x45;
        Out(_a, 0, 0, 0xA, 0, 0x08, wrong).IllegalParameter(28);
        Assert.Empty(Keys(_a));
        var list = new byte[24 + 4 + 20];
        list[15] = 0xA;
        list[20] = 0x08;
        list[27] = 20;
        _a.Run("5F 00 00 00 00 00000030 00", list).Check(SenseKey.IllegalRequest, AdditionalSense.ParameterListLengthError);
    }

    [Fact]
    public void A_reservation_is_handed_over()
    {
        var (name, port) = NameOf(_b);
        var (own, ownPort) = NameOf(_a);
        Assert.Equal(ScsiStatus.ReservationConflict, Move(_a, 0, 0xB, port, name).Status);
        Out(_a, 0, 0, 0xA, 0, 0).Good();
        Assert.Equal(ScsiStatus.ReservationConflict, Move(_a, 0xA, 0xB, port, name).Status); // holds nothing
        Out(_a, 1, 0xA, 0, 1, 0).Good();
        Move(_a, 0xA, 0, port, name).IllegalParameter(8);
        Move(_a, 0xA, 0xB, port + 50, name).IllegalParameter(18);
        Move(_a, 0xA, 0xB, port, own).IllegalParameter(24);
        Move(_a, 0xA, 0xB, ownPort, own).IllegalParameter(24);
        Move(_a, 0xA, 0xB, port, name, 0x04).IllegalParameter(17, 7);
        Move(_a, 0xA, 0xB, port, name, 0x01).IllegalParameter(17, 0);
        Move(_a, 0xA, 0xB, port, name[..20]).Check(SenseKey.IllegalRequest, AdditionalSense.ParameterListLengthError);

        Move(_a, 0xA, 0xB, port, name).Good();
        Assert.Equal([0xAUL, 0xBUL], Keys(_a));
        Assert.Equal(0xB, In(_a, 1)[15]);
        _b.Run("2A 00 00000000 00 0001 00", new byte[512]).Good();
        Assert.Equal(ScsiStatus.ReservationConflict, _a.Run("2A 00 00000000 00 0001 00", new byte[512]).Status);

        // Back, and unregister; all registrants hold nothing that one could hand over.
        Move(_b, 0xB, 0xC, ownPort, own, 0x02).Good();
        Assert.Equal([0xCUL], Keys(_a));
        Out(_a, 2, 0xC, 0, 1, 0).Good();
        Out(_a, 1, 0xC, 0, 7, 0).Good();
        Assert.Equal(ScsiStatus.ReservationConflict, Move(_a, 0xC, 0xB, port, name).Status);
    }

    private sealed class MemberOf(Disk disk, string initiator, int number) : IDisposable
    {
        public Initiator Initiator { get; } = new Initiator(disk.Registry, disk.Port, initiator, portName: $"{initiator}:{number}").Settle();

        public void Dispose() => Initiator.Dispose();
    }
}
