using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

/// <summary>A ring without a driver: its memory, its eventfds, and the messages that set it up.</summary>
internal sealed class TestQueue : IDisposable
{
    public TestQueue(GuestMemory memory, int index, int size = TransportHarness.QueueSize, int region = 0)
    {
        Index = index;
        Size = size;
        Descriptors = memory.Allocate(16 * size, 16, region);
        Available = memory.Allocate(6 + (2 * size), 4, region);
        Used = memory.Allocate(6 + (8 * size), 4, region);
    }

    public int Index { get; }

    public int Size { get; }

    public GuestBuffer Descriptors { get; }

    public GuestBuffer Available { get; }

    public GuestBuffer Used { get; }

    public EventFd Kick { get; } = EventFd.Create();

    public EventFd Call { get; } = EventFd.Create();

    public VringAddress Address => new((uint)Index, 0, Descriptors.UserAddress, Used.UserAddress, Available.UserAddress, 0);

    public void SetUp(FrontEndConnection connection, bool enable = true)
    {
        connection.TellVring(FrontEndRequest.SetVringNum, Index, (uint)Size);
        connection.TellVring(FrontEndRequest.SetVringBase, Index, 0);
        TellAddress(connection, Address);
        connection.TellNumber(FrontEndRequest.SetVringCall, (ulong)Index, Call.Raw);
        connection.TellNumber(FrontEndRequest.SetVringKick, (ulong)Index, Kick.Raw);
        if (enable)
        {
            connection.TellVring(FrontEndRequest.SetVringEnable, Index, 1);
        }
    }

    public static void TellAddress(FrontEndConnection connection, VringAddress address)
    {
        var payload = new byte[VringAddress.LengthBytes];
        address.Write(payload);
        connection.Tell(FrontEndRequest.SetVringAddress, payload);
    }

    public static VringState Stop(FrontEndConnection connection, int index)
    {
        var payload = new byte[VringState.LengthBytes];
        new VringState((uint)index, 0).Write(payload);
        return VringState.Read(connection.Ask(FrontEndRequest.GetVringBase, payload).Span);
    }

    public void Dispose()
    {
        Kick.Dispose();
        Call.Dispose();
    }
}
