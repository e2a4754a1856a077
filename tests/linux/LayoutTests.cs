using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Linux.Tests;

/// <summary>Sizes and offsets as sizeof and offsetof report them for the kernel's and glibc's 64-bit headers.</summary>
public sealed class LayoutTests
{
    [Fact]
    public void Sizes_are_those_of_the_headers()
    {
        Assert.Equal(64, Unsafe.SizeOf<IoUringEntry>()); // struct io_uring_sqe
        Assert.Equal(16, Unsafe.SizeOf<IoUringCompletion>()); // struct io_uring_cqe
        Assert.Equal(120, Unsafe.SizeOf<IoUringParameters>()); // struct io_uring_params
        Assert.Equal(40, Unsafe.SizeOf<IoUringSubmissionOffsets>()); // struct io_sqring_offsets
        Assert.Equal(40, Unsafe.SizeOf<IoUringCompletionOffsets>()); // struct io_cqring_offsets
        Assert.Equal(56, Unsafe.SizeOf<MessageHeader>()); // struct msghdr
        Assert.Equal(16, Unsafe.SizeOf<IoVector>()); // struct iovec
        Assert.Equal(8, Unsafe.SizeOf<PollEntry>()); // struct pollfd
        Assert.Equal(256, Unsafe.SizeOf<Statx>()); // struct statx
        Assert.Equal(32, Unsafe.SizeOf<FileLockRange>()); // struct flock
        Assert.Equal(112, Unsafe.SizeOf<SystemInformation>()); // struct sysinfo
        Assert.Equal(12, Unsafe.SizeOf<PeerCredentials>()); // struct ucred
    }

    [Theory]
    [InlineData(typeof(IoUringEntry), "_fd", 4)] // io_uring_sqe.fd
    [InlineData(typeof(IoUringEntry), "_offset", 8)] // io_uring_sqe.off
    [InlineData(typeof(IoUringEntry), "_address", 16)] // io_uring_sqe.addr
    [InlineData(typeof(IoUringEntry), "_length", 24)] // io_uring_sqe.len
    [InlineData(typeof(IoUringEntry), "_operationFlags", 28)] // io_uring_sqe.rw_flags
    [InlineData(typeof(IoUringEntry), "_userData", 32)] // io_uring_sqe.user_data
    [InlineData(typeof(IoUringEntry), "_bufferIndex", 40)] // io_uring_sqe.buf_index
    [InlineData(typeof(IoUringParameters), "Features", 20)] // io_uring_params.features
    [InlineData(typeof(IoUringParameters), "Submission", 40)] // io_uring_params.sq_off
    [InlineData(typeof(IoUringParameters), "Completion", 80)] // io_uring_params.cq_off
    [InlineData(typeof(IoUringSubmissionOffsets), "Array", 24)] // io_sqring_offsets.array
    [InlineData(typeof(IoUringCompletionOffsets), "Completions", 20)] // io_cqring_offsets.cqes
    [InlineData(typeof(IoUringCompletionOffsets), "Flags", 24)] // io_cqring_offsets.flags
    [InlineData(typeof(MessageHeader), "Vectors", 16)] // msghdr.msg_iov
    [InlineData(typeof(MessageHeader), "Control", 32)] // msghdr.msg_control
    [InlineData(typeof(MessageHeader), "ControlLength", 40)] // msghdr.msg_controllen
    [InlineData(typeof(MessageHeader), "Flags", 48)] // msghdr.msg_flags
    [InlineData(typeof(Statx), "Mode", 28)] // statx.stx_mode
    [InlineData(typeof(Statx), "Inode", 32)] // statx.stx_ino
    [InlineData(typeof(Statx), "Size", 40)] // statx.stx_size
    [InlineData(typeof(Statx), "Blocks", 48)] // statx.stx_blocks
    [InlineData(typeof(Statx), "RepresentedMajor", 128)] // statx.stx_rdev_major
    [InlineData(typeof(Statx), "DeviceMajor", 136)] // statx.stx_dev_major
    [InlineData(typeof(FileLockRange), "Start", 8)] // flock.l_start
    [InlineData(typeof(FileLockRange), "Length", 16)] // flock.l_len
    [InlineData(typeof(SystemInformation), "TotalRam", 32)] // sysinfo.totalram
    [InlineData(typeof(SystemInformation), "FreeRam", 40)] // sysinfo.freeram
    [InlineData(typeof(SystemInformation), "Unit", 104)] // sysinfo.mem_unit
    public void Offsets_are_those_of_the_headers(Type type, string field, int offset) =>
        Assert.Equal(offset, (int)Marshal.OffsetOf(type, field));
}
