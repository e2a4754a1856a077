using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Plugins.VhostScsi;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>Commands and task management functions to a scsi controller with two targets.</summary>
internal sealed class ScsiTarget(VirtqueueFormat format) : QueueTarget(format, queueCount: 4)
{
    private const int HeaderBytes = 51;
    private const int ResponseBytes = 108;
    private const int ControlQueue = 0;
    private const int EventQueue = 1;
    private const int RequestQueue = 2;
    private const byte ReportLuns = 0xa0;

    private protected override (int Queue, byte[] Request, int AnswerBytes) GoodRequest
    {
        get
        {
            // REPORT LUNS is granted whatever unit attentions or reservations there are.
            var request = new byte[HeaderBytes];
            WriteLun(request, target: 0, lun: 0);
            request[19] = ReportLuns;
            request[19 + 9] = 64;
            return (RequestQueue, request, ResponseBytes + 64);
        }
    }

    private protected override IVirtioDevice Create(DeviceContext context)
    {
        IDeviceTypeFactory factory = new VhostScsiFactory();
        return factory.Create(context, new VhostScsiOptions { Targets = { ["0"] = "Disk0", ["1"] = "Disk0" }, Queues = 2, Identity = "fuzz" });
    }

    private protected override byte[] MakeRequest(FuzzInput input, int queue) => queue switch
    {
        ControlQueue => MakeControl(input),
        EventQueue => [],
        _ => MakeCommand(input),
    };

    private protected override int AnswerBytes(FuzzInput input, int queue) => queue switch
    {
        ControlQueue => input.Once(6) ? input.Below(16) : 1,
        EventQueue => input.Once(6) ? input.Below(32) : 16,
        _ => input.Once(8) ? input.Below(ResponseBytes) : ResponseBytes + (input.Once(4) ? input.Below(4096) : input.Of(0, 36, 96, 252, 512, 4096, 8192)),
    };

    private protected override bool IsGood(ReadOnlySpan<byte> answer) => answer[10] == 0 && answer[11] == 0;

    private static void WriteLun(Span<byte> destination, byte target, int lun)
    {
        destination[0] = 1;
        destination[1] = target;
        destination[2] = (byte)(0x40 | (lun >> 8));
        destination[3] = (byte)lun;
    }

    private static byte[] MakeControl(FuzzInput input)
    {
        var request = new byte[input.Once(6) ? input.Below(40) + 1 : 24];
        input.Fill(request.AsSpan(0, Math.Min(request.Length, 4)));
        if (request.Length >= 24)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(request, input.Once(8) ? (uint)input.Number() : (uint)input.Below(3));
            BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(4), input.Once(8) ? (uint)input.Number() : (uint)input.Below(9));
            WriteLun(request.AsSpan(8), (byte)input.Below(3), input.Once(6) ? input.Below(256) : 0);
            BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(16), (ulong)input.Below(64));
        }

        return request;
    }

    private static byte[] MakeCommand(FuzzInput input)
    {
        if (input.Once(24))
        {
            return input.Bytes(input.Below(80) + 1);
        }

        var length = input.Below(4) switch { 0 => input.Below(1024), 1 => 24, _ => 512 * input.Below(9) };
        var request = new byte[HeaderBytes + length];
        WriteLun(request, (byte)(input.Once(12) ? input.Byte() : input.Below(2)), input.Once(12) ? input.Below(512) : 0);
        if (input.Once(24))
        {
            request[0] = input.Byte();
        }

        BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(8), (ulong)input.Below(64));
        request[16] = input.Once(4) ? input.Byte() : (byte)0;
        MakeCdb(input, request.AsSpan(19, 32));
        // A parameter list begins with lengths, mostly true ones; what follows decides less.
        input.Fill(request.AsSpan(HeaderBytes, Math.Min(length, 24)));
        if (length >= 8 && input.Once(2))
        {
            BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(HeaderBytes), (ushort)(length - 2));
            BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(HeaderBytes + 2), (ushort)(length - 8));
        }

        return request;
    }

    private static void MakeCdb(FuzzInput input, Span<byte> cdb)
    {
        cdb[0] = input.Once(12)
            ? input.Byte()
            : input.Of<byte>(
                0x00, 0x03, 0x04, 0x08, 0x0a, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x1d, 0x1e, 0x25, 0x28, 0x2a, 0x2e, 0x2f, 0x34, 0x35, 0x41, 0x42, 0x4c, 0x4d, 0x55,
                0x5a, 0x5e, 0x5f, 0x7f, 0x83, 0x84, 0x88, 0x89, 0x8a, 0x8b, 0x8e, 0x8f, 0x90, 0x91, 0x93, 0x9c, 0x9e, 0xa0, 0xa3, 0xa4, 0xa8, 0xaa, 0xae, 0xaf);
        var service = input.Below(256);
        for (var i = 1; i < cdb.Length; i++)
        {
            cdb[i] = input.Below(6) switch { 0 => input.Byte(), 1 => input.Of<byte>(1, 2, 8, 0x10, 0x80, 0xff), _ => 0 };
        }

        if (cdb[0] is 0x5e or 0x5f or 0x9e or 0xa3 or 0x83 or 0x84)
        {
            cdb[1] = (byte)(service & 0x1f);
        }

        if (cdb[0] == 0x7f)
        {
            cdb[7] = 24;
            cdb[8] = 0;
            cdb[9] = input.Of<byte>(9, 0x0a, 0x0b, 0x0c, 0x0d, (byte)service);
        }
    }
}
