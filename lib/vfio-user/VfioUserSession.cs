using System.Buffers.Binary;
using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>
/// A client's session with a device, as the device sees it: the client's memory and the client's interrupts. The other part of
/// this class answers the client's commands.
/// </summary>
public sealed partial class VfioUserSession
{
    /// <summary>Bytes that one read or write message may carry from the client.</summary>
    public const uint MaxDataTransferBytes = 1024 * 1024;

    /// <summary>Descriptors that the client may send in one message.</summary>
    public const int MaxMessageFds = 253;

    private readonly IVfioUserDevice _device;
    private readonly VfioUserChannel _channel;
    private readonly Action<string> _report;
    private VfioUserCapabilities _client = new();

    internal VfioUserSession(IVfioUserDevice device, VfioUserChannel channel, Action<string> report)
    {
        _device = device;
        _channel = channel;
        _report = report;
        Interrupts = new VfioUserInterrupts([.. Enumerable.Range(0, device.IrqCount).Select(device.GetIrq)]);
    }

    /// <summary>The client's memory.</summary>
    public VfioUserDma Dma { get; } = new();

    /// <summary>The client's interrupts.</summary>
    public VfioUserInterrupts Interrupts { get; }

    /// <summary>
    /// Reads the client's memory, by messages where it is not mapped. Any thread; a message blocks until the client answers or the
    /// session's time limit ends it.
    /// </summary>
    /// <param name="iova">First device address.</param>
    /// <param name="destination">What to fill, wholly.</param>
    /// <exception cref="VfioUserException">EFAULT where the client has no such memory or the device may not read it.</exception>
    public unsafe void ReadDma(ulong iova, Span<byte> destination)
    {
        if (Dma.TryTranslate(iova, (ulong)destination.Length, forWriting: false, out nint address))
        {
            // SAFETY: the range was checked against a region that is mapped until the device has let go of it.
            new ReadOnlySpan<byte>((void*)address, destination.Length).CopyTo(destination);
            return;
        }

        CheckMessageDma(iova, destination.Length, forWriting: false);
        Span<byte> payload = stackalloc byte[16];
        while (!destination.IsEmpty)
        {
            int count = (int)Math.Min((uint)destination.Length, TransferLimit);
            BinaryPrimitives.WriteUInt64LittleEndian(payload, iova);
            BinaryPrimitives.WriteUInt64LittleEndian(payload[8..], (ulong)count);
            using VfioUserMessage reply = _channel.Request(VfioUserCommand.DmaRead, payload);
            if (reply.Payload.Length != 16 + count)
            {
                throw _channel.Fail(Errno.EPROTO, $"the client answered a DMA read of {count} bytes with {reply.Payload.Length - 16}");
            }

            reply.Payload.AsSpan(16).CopyTo(destination);
            destination = destination[count..];
            iova += (ulong)count;
        }
    }

    /// <summary>Writes the client's memory, by messages where it is not mapped. Any thread, as <see cref="ReadDma"/>.</summary>
    /// <param name="iova">First device address.</param>
    /// <param name="source">What to write.</param>
    /// <exception cref="VfioUserException">EFAULT where the client has no such memory or the device may not write it.</exception>
    public unsafe void WriteDma(ulong iova, ReadOnlySpan<byte> source)
    {
        if (Dma.TryTranslate(iova, (ulong)source.Length, forWriting: true, out nint address))
        {
            // SAFETY: the range was checked against a region that is mapped until the device has let go of it.
            source.CopyTo(new Span<byte>((void*)address, source.Length));
            return;
        }

        CheckMessageDma(iova, source.Length, forWriting: true);
        Span<byte> payload = stackalloc byte[16];
        while (!source.IsEmpty)
        {
            int count = (int)Math.Min((uint)source.Length, TransferLimit);
            BinaryPrimitives.WriteUInt64LittleEndian(payload, iova);
            BinaryPrimitives.WriteUInt64LittleEndian(payload[8..], (ulong)count);
            _channel.Request(VfioUserCommand.DmaWrite, payload, source[..count]).Dispose();
            source = source[count..];
            iova += (ulong)count;
        }
    }

    private uint TransferLimit => Math.Min(Math.Max(_client.MaxDataTransferBytes, 1), MaxDataTransferBytes);

    private void CheckMessageDma(ulong iova, int length, bool forWriting)
    {
        VfioUserDmaRegion? region = Dma.Find(iova, (ulong)length);
        if (region is null || !(forWriting ? region.IsWritable : region.IsReadable))
        {
            throw new VfioUserException(Errno.EFAULT, $"the client has no {(forWriting ? "writable" : "readable")} memory of {length} bytes at 0x{iova:x}");
        }
    }
}
