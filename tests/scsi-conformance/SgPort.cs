using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Scsi.Conformance;

/// <summary>A logical unit of a Linux machine: the SG_IO request of <c>/dev/sg*</c>.</summary>
/// <param name="path">The device.</param>
public sealed partial class SgPort(string path) : IScsiPort, IDisposable
{
    private const nuint SgIo = 0x2285;
    private const int NoData = -1;
    private const int ToDevice = -2;
    private const int FromDevice = -3;
    private const uint TimeoutMilliseconds = 60_000;

    private readonly SafeFileHandle _device = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);

    /// <inheritdoc/>
    // SAFETY: the kernel is done with all buffers when the request returns, and they are pinned until then.
    public unsafe Answer Send(ReadOnlySpan<byte> cdb, ReadOnlySpan<byte> dataOut, int dataInLength)
    {
        var sense = new byte[96];
        var dataIn = new byte[dataInLength];
        fixed (byte* command = cdb, output = dataOut, input = dataIn, senseBytes = sense)
        {
            var header = new Header
            {
                InterfaceId = 'S',
                Direction = dataInLength > 0 ? FromDevice : dataOut.Length > 0 ? ToDevice : NoData,
                CommandLength = (byte)cdb.Length,
                MaxSenseLength = (byte)sense.Length,
                DataLength = (uint)(dataInLength > 0 ? dataInLength : dataOut.Length),
                Data = dataInLength > 0 ? input : output,
                Command = command,
                Sense = senseBytes,
                TimeoutMilliseconds = TimeoutMilliseconds,
            };
            if (Ioctl(_device, SgIo, &header) < 0)
            {
                throw new Win32Exception(Marshal.GetLastPInvokeError(), $"SG_IO at {path}: {Marshal.GetLastPInvokeErrorMessage()}");
            }

            return new Answer(
                header.HostStatus != 0 ? -1 : header.Status,
                sense[..Math.Min(header.SenseLength, sense.Length)],
                dataIn[..Math.Clamp(dataInLength - header.Residual, 0, dataInLength)],
                header.Residual);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _device.Dispose();

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static unsafe partial int Ioctl(SafeFileHandle device, nuint request, Header* argument);

    // struct sg_io_hdr of <scsi/sg.h>.
    [StructLayout(LayoutKind.Sequential)]
    private unsafe struct Header
    {
        public int InterfaceId;
        public int Direction;
        public byte CommandLength;
        public byte MaxSenseLength;
        public ushort VectorCount;
        public uint DataLength;
        public byte* Data;
        public byte* Command;
        public byte* Sense;
        public uint TimeoutMilliseconds;
        public uint Flags;
        public int PackId;
        public nint UserPointer;
        public byte Status;
        public byte MaskedStatus;
        public byte MessageStatus;
        public byte SenseLength;
        public ushort HostStatus;
        public ushort DriverStatus;
        public int Residual;
        public uint DurationMilliseconds;
        public uint Info;
    }
}
