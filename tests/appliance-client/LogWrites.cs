using System.Buffers.Binary;
using System.Text;
using Vhost.Linux;

namespace Vhost.Appliance.Client;

/// <summary>
/// A device-mapper device of the kernel's target log-writes: it passes everything on to a disk and writes down on another one what has become durable, in that order
/// (Documentation/admin-guide/device-mapper/log-writes.rst). By the ioctls of linux/dm-ioctl.h, so that nothing has to be installed.
/// </summary>
internal sealed unsafe class LogWrites : IDisposable
{
    private const uint Type = 0xfd;
    private const uint DevCreate = 3;
    private const uint DevSuspend = 6;
    private const uint TableLoad = 9;
    private const uint TargetMessage = 14;
    private const int HeaderBytes = 312;
    private const int TargetBytes = 40;
    private const int BufferBytes = 1024;
    private const int NameOffset = 48;

    private readonly FileStream _control = new("/dev/mapper/control", FileMode.Open, FileAccess.ReadWrite);
    private readonly byte[] _buffer = new byte[BufferBytes];
    private readonly string _name;

    /// <summary>Opens the way to a device that is there, or will be.</summary>
    public LogWrites(string name) => _name = name;

    /// <summary>Makes the device.</summary>
    /// <param name="disk">The disk that it passes everything on to.</param>
    /// <param name="sectors">Its size in sectors of 512 bytes.</param>
    /// <param name="log">The disk that the log is written to.</param>
    public void Create(string disk, long sectors, string log)
    {
        Prepare(0);
        Call(DevCreate);
        Span<byte> data = Prepare(1);
        BinaryPrimitives.WriteInt64LittleEndian(data[8..], sectors);
        Put(data[24..], "log-writes");
        Put(data[TargetBytes..], $"{disk} {log}");
        Call(TableLoad);
        Prepare(0);
        // Without its flag it is a resume.
        Call(DevSuspend);
    }

    /// <summary>Writes a mark into the log: after what is durable now, before what will be.</summary>
    public void Mark(string text)
    {
        Put(Prepare(0)[8..], $"mark {text}");
        Call(TargetMessage);
    }

    public void Dispose() => _control.Dispose();

    private Span<byte> Prepare(int targets)
    {
        _buffer.AsSpan().Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(_buffer, 4);
        BinaryPrimitives.WriteInt32LittleEndian(_buffer.AsSpan(12), BufferBytes);
        BinaryPrimitives.WriteInt32LittleEndian(_buffer.AsSpan(16), HeaderBytes);
        BinaryPrimitives.WriteInt32LittleEndian(_buffer.AsSpan(20), targets);
        Put(_buffer.AsSpan(NameOffset), _name);
        return _buffer.AsSpan(HeaderBytes);
    }

    // SAFETY: the buffer is as long as its header says, and stays where it is during the call.
    private void Call(uint number)
    {
        fixed (byte* buffer = _buffer)
        {
            _ = Ioctl.Call((int)_control.SafeFileHandle.DangerousGetHandle(), (3u << 30) | (HeaderBytes << 16) | (Type << 8) | number, buffer, $"device-mapper {number}");
        }
    }

    private static void Put(Span<byte> destination, string text) => Encoding.ASCII.GetBytes(text, destination);
}
