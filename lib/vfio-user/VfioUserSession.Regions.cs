using Vhost.Linux;

namespace Vhost.VfioUser;

/// <content>Trapped accesses to regions.</content>
public sealed partial class VfioUserSession
{
    private void ReadRegion(VfioUserMessage message)
    {
        ReadOnlySpan<byte> p = Payload(message, AccessBytes, checkArgumentSize: false);
        ExpectNoFds(message);
        (int region, ulong offset, int count) = Access(p, forWriting: false);
        byte[] data = new byte[count];
        if (count != 0)
        {
            _device.ReadRegion(region, offset, data);
        }

        Reply(message.Header, p[..AccessBytes], data);
    }

    private void WriteRegion(VfioUserMessage message)
    {
        ReadOnlySpan<byte> p = Payload(message, AccessBytes, checkArgumentSize: false);
        ExpectNoFds(message);
        (int region, ulong offset, int count) = Access(p, forWriting: true);
        if (p.Length - AccessBytes != count)
        {
            throw new VfioUserException(Errno.EINVAL, $"REGION_WRITE of {count} bytes came with {p.Length - AccessBytes}");
        }

        if (count != 0)
        {
            _device.WriteRegion(region, offset, p[AccessBytes..]);
        }

        Reply(message.Header, p[..AccessBytes]);
    }

    private void WriteRegions(VfioUserMessage message)
    {
        ReadOnlySpan<byte> p = Payload(message, 8, checkArgumentSize: false);
        ExpectNoFds(message);
        ulong writes = U64(p, 0);
        if (writes > (ulong)p.Length || p.Length - 8 != (int)writes * WriteMultiBytes)
        {
            throw new VfioUserException(Errno.EINVAL, $"REGION_WRITE_MULTI of {writes} writes came with {p.Length - 8} bytes");
        }

        for (int pass = 0; pass < 2; pass++)
        {
            for (int at = 8; at < p.Length; at += WriteMultiBytes)
            {
                (int region, ulong offset, int count) = Access(p[at..], forWriting: true);
                if (count > 8)
                {
                    throw new VfioUserException(Errno.EINVAL, $"a write of REGION_WRITE_MULTI has {count} bytes, 8 are possible");
                }

                // The first pass only checks, so that a bad message changes nothing.
                if (pass == 1 && count != 0)
                {
                    _device.WriteRegion(region, offset, p.Slice(at + AccessBytes, count));
                }
            }
        }

        Reply(message.Header, p[..8]);
    }

    private (int Region, ulong Offset, int Count) Access(ReadOnlySpan<byte> p, bool forWriting)
    {
        ulong offset = U64(p, 0);
        int index = RegionIndex(U32(p, 8));
        uint count = U32(p, 12);
        VfioUserRegion region = _device.GetRegion(index);
        if (count > MaxDataTransferBytes || offset > region.Size || count > region.Size - offset)
        {
            throw new VfioUserException(Errno.EINVAL, $"an access to 0x{offset:x} + {count} leaves the region {index} of 0x{region.Size:x} bytes");
        }

        return (forWriting ? region.IsWritable : region.IsReadable)
            ? (index, offset, (int)count)
            : throw new VfioUserException(Errno.EPERM, $"the region {index} cannot be {(forWriting ? "written" : "read")}");
    }
}
