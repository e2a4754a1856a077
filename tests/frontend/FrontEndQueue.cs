using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VhostUser;
using Vhost.Virtio;

namespace Vhost.Testing.FrontEnd;

/// <summary>A virtqueue with its eventfds and the messages that set it up. One thread.</summary>
public sealed unsafe class FrontEndQueue : IDisposable
{
    private readonly GuestBuffer _block;
    private readonly DriverVirtqueueLayout _layout;

    internal FrontEndQueue(int index, VirtqueueFormat format, int size, ulong features, int indirectEntries, GuestMemory memory)
    {
        Index = index;
        _layout = new DriverVirtqueueLayout(format, size, indirectEntries);
        _block = memory.Allocate(_layout.TotalBytes, 4096);
        _block.Span.Clear();
        Ring = DriverVirtqueue.Create(format, size, features, new DriverVirtqueueMemory(_layout, (byte*)_block.HostAddress, _block.GuestAddress));
    }

    /// <summary>The queue's index.</summary>
    public int Index { get; }

    /// <summary>The driver's side of the ring.</summary>
    public DriverVirtqueue Ring { get; }

    /// <summary>What the driver signals.</summary>
    public EventFd Kick { get; } = EventFd.Create();

    /// <summary>What interrupts the driver.</summary>
    public EventFd Call { get; } = EventFd.Create();

    /// <summary>How often the driver signalled.</summary>
    public long KickCount { get; private set; }

    /// <summary>Where the ring lies.</summary>
    public VringAddress Address => new(
        (uint)Index, 0,
        _block.UserAddress + (ulong)_layout.DescriptorsOffsetBytes,
        _block.UserAddress + (ulong)_layout.DeviceOffsetBytes,
        _block.UserAddress + (ulong)_layout.DriverOffsetBytes,
        0);

    /// <summary>Shows the device what was added, and signals it if it asks for that.</summary>
    public void Publish()
    {
        if (Ring.Publish())
        {
            KickCount++;
            _ = EventFd.SignalRaw(Kick.Raw);
        }
    }

    /// <summary>Sends the messages that start the queue.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="ringBase">Where the device continues.</param>
    /// <param name="hasKick">Whether the queue has a kick.</param>
    /// <param name="hasCall">Whether the queue has an interrupt.</param>
    public void Start(FrontEndConnection connection, uint ringBase, bool hasKick = true, bool hasCall = true)
    {
        ArgumentNullException.ThrowIfNull(connection);
        connection.TellVring(FrontEndRequest.SetVringNum, Index, (uint)Ring.Size);
        connection.TellVring(FrontEndRequest.SetVringBase, Index, ringBase);
        var payload = new byte[VringAddress.LengthBytes];
        Address.Write(payload);
        connection.Tell(FrontEndRequest.SetVringAddress, payload);
        TellDescriptor(connection, FrontEndRequest.SetVringCall, hasCall ? Call : null);
        TellDescriptor(connection, FrontEndRequest.SetVringKick, hasKick ? Kick : null);
        if (connection.ProtocolFeatures != ProtocolFeatures.None)
        {
            connection.TellVring(FrontEndRequest.SetVringEnable, Index, 1);
        }
    }

    /// <summary>Stops the queue.</summary>
    /// <param name="connection">The connection.</param>
    /// <returns>Where it stands.</returns>
    public uint Stop(FrontEndConnection connection)
    {
        ArgumentNullException.ThrowIfNull(connection);
        var payload = new byte[VringState.LengthBytes];
        new VringState((uint)Index, 0).Write(payload);
        return VringState.Read(connection.Ask(FrontEndRequest.GetVringBase, payload).Span).Number;
    }

    /// <summary>Waits for an interrupt.</summary>
    /// <param name="timeoutMilliseconds">The bound.</param>
    /// <returns>False if none came.</returns>
    public bool WaitForInterrupt(int timeoutMilliseconds)
    {
        if (!Poll.WaitReadable(Call.Raw, timeoutMilliseconds))
        {
            return false;
        }

        Call.Drain();
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Kick.Dispose();
        Call.Dispose();
    }

    private void TellDescriptor(FrontEndConnection connection, FrontEndRequest request, EventFd? descriptor)
    {
        if (descriptor is null)
        {
            connection.TellNumber(request, (ulong)Index | (1 << 8));
        }
        else
        {
            connection.TellNumber(request, (ulong)Index, descriptor.Raw);
        }
    }
}
