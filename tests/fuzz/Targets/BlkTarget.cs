using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Plugins.VhostBlk;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>Requests to a blk controller.</summary>
internal sealed class BlkTarget(VirtqueueFormat format) : QueueTarget(format, queueCount: 2)
{
    private const int HeaderBytes = 16;

    private protected override (int Queue, byte[] Request, int AnswerBytes) GoodRequest => (0, new byte[HeaderBytes], 4096 + 1);

    private protected override IVirtioDevice Create(DeviceContext context)
    {
        IDeviceTypeFactory factory = new BlkFactory();
        return factory.Create(context, new BlkOptions { Bdev = "Disk0" });
    }

    private protected override byte[] MakeRequest(FuzzInput input, int queue)
    {
        if (input.Once(16))
        {
            return input.Bytes(input.Below(48) + 1);
        }

        var type = input.Below(12) switch
        {
            < 4 => 0u,
            < 7 => 1u,
            7 => 4u,
            8 => 8u,
            9 => 11u,
            10 => 13u,
            _ => input.Of(2u, 10u, 14u, 15u, 0x1_0000u, 0x8000_0000u, (uint)input.Number()),
        };
        var isRanges = type is 11 or 13 or 14;
        var data = type == 1 ? new byte[512 * input.Below(17)] : isRanges ? new byte[16 * input.Below(20)] : [];
        var request = new byte[HeaderBytes + data.Length + (input.Once(12) ? input.Below(512) : 0)];
        BinaryPrimitives.WriteUInt32LittleEndian(request, type);
        BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(4), input.Once(8) ? (uint)input.Raw() : 0);
        BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(8), Sector(input));
        for (var at = HeaderBytes; isRanges && at + 16 <= request.Length; at += 16)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(at), Sector(input));
            BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(at + 8), input.Once(6) ? (uint)input.Number() : (uint)input.Below(64));
            BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(at + 12), input.Once(4) ? (uint)input.Number() : (uint)input.Below(2));
        }

        return request;
    }

    private protected override int AnswerBytes(FuzzInput input, int queue) => input.Below(8) switch
    {
        0 => input.Below(64),
        1 => 20 + 1,
        _ => (512 * input.Below(17)) + 1,
    };

    private protected override bool IsGood(ReadOnlySpan<byte> answer) => answer[^1] == 0;

    private static ulong Sector(FuzzInput input) => input.Once(6) ? input.Number() : (ulong)input.Below(4200) & (input.Once(2) ? ~7UL : ~0UL);
}
