namespace Vhost.Linux;

/// <summary>Geometry and whole-range operations of a block device node (linux/fs.h). Errors come as <see cref="LinuxException"/>.</summary>
public static unsafe class BlockDevice
{
    private const uint BLKROGET = 0x125e; // linux/fs.h
    private const uint BLKSSZGET = 0x1268; // linux/fs.h
    private const uint BLKDISCARD = 0x1277; // linux/fs.h
    private const uint BLKIOMIN = 0x1278; // linux/fs.h
    private const uint BLKIOOPT = 0x1279; // linux/fs.h
    private const uint BLKPBSZGET = 0x127b; // linux/fs.h
    private const uint BLKZEROOUT = 0x127f; // linux/fs.h
    private const uint BLKGETSIZE64 = 0x80081272; // linux/fs.h

    /// <summary>Length in bytes.</summary>
    /// <param name="fd">The descriptor number.</param>
    public static ulong GetSize(int fd)
    {
        ulong size = 0;
        _ = Ioctl.Call(fd, BLKGETSIZE64, &size, nameof(BLKGETSIZE64));
        return size;
    }

    /// <summary>Logical block size in bytes.</summary>
    /// <param name="fd">The descriptor number.</param>
    public static uint GetLogicalBlockSize(int fd) => GetNumber(fd, BLKSSZGET, nameof(BLKSSZGET));

    /// <summary>Physical block size in bytes.</summary>
    /// <param name="fd">The descriptor number.</param>
    public static uint GetPhysicalBlockSize(int fd) => GetNumber(fd, BLKPBSZGET, nameof(BLKPBSZGET));

    /// <summary>Smallest preferred request in bytes.</summary>
    /// <param name="fd">The descriptor number.</param>
    public static uint GetMinimumIoSize(int fd) => GetNumber(fd, BLKIOMIN, nameof(BLKIOMIN));

    /// <summary>Best request in bytes; 0 where the device does not say.</summary>
    /// <param name="fd">The descriptor number.</param>
    public static uint GetOptimalIoSize(int fd) => GetNumber(fd, BLKIOOPT, nameof(BLKIOOPT));

    /// <summary>Whether the device refuses writes.</summary>
    /// <param name="fd">The descriptor number.</param>
    public static bool IsReadOnly(int fd) => GetNumber(fd, BLKROGET, nameof(BLKROGET)) != 0;

    /// <summary>Discards a range; 0 or the negative error number.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="offset">First byte, a multiple of the logical block size.</param>
    /// <param name="length">Length in bytes, a multiple of the logical block size.</param>
    public static int TryDiscard(int fd, ulong offset, ulong length) => Range(fd, BLKDISCARD, offset, length);

    /// <summary>Writes zeroes to a range, by the device where it can; 0 or the negative error number.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="offset">First byte, a multiple of the logical block size.</param>
    /// <param name="length">Length in bytes, a multiple of the logical block size.</param>
    public static int TryZeroOut(int fd, ulong offset, ulong length) => Range(fd, BLKZEROOUT, offset, length);

    private static uint GetNumber(int fd, uint request, string name)
    {
        uint value = 0;
        _ = Ioctl.Call(fd, request, &value, name);
        return value;
    }

    private static int Range(int fd, uint request, ulong offset, ulong length)
    {
        ulong* range = stackalloc ulong[2];
        range[0] = offset;
        range[1] = length;
        return Ioctl.TryCall(fd, request, range);
    }
}
