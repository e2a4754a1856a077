using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Set-up flags of an <see cref="IoUring"/> (linux/io_uring.h, IORING_SETUP_*).</summary>
[Flags]
public enum IoUringSetup : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>IORING_SETUP_IOPOLL: completions are polled at the device; only for O_DIRECT on devices that can.</summary>
    IoPoll = 1u << 0,

    /// <summary>IORING_SETUP_SQPOLL: a kernel thread submits; needs a CPU of its own.</summary>
    SubmissionPolling = 1u << 1,

    /// <summary>IORING_SETUP_CQSIZE; set by <see cref="IoUring.Create"/> as needed.</summary>
    CompletionQueueSize = 1u << 3,

    /// <summary>IORING_SETUP_CLAMP: sizes beyond the kernel's limits are cut to them.</summary>
    Clamp = 1u << 4,

    /// <summary>IORING_SETUP_R_DISABLED: created disabled; the thread that calls <see cref="IoUring.Enable"/> becomes the single issuer.</summary>
    Disabled = 1u << 6,

    /// <summary>IORING_SETUP_SUBMIT_ALL: one bad request does not stop the batch.</summary>
    SubmitAll = 1u << 7,

    /// <summary>IORING_SETUP_COOP_TASKRUN (Linux 5.19): no inter-processor interrupt for a completion.</summary>
    CooperativeTaskRun = 1u << 8,

    /// <summary>IORING_SETUP_TASKRUN_FLAG (Linux 5.19): the ring tells that completions wait in the kernel.</summary>
    TaskRunFlag = 1u << 9,

    /// <summary>IORING_SETUP_SINGLE_ISSUER (Linux 6.0): one thread submits, the kernel refuses others with EEXIST.</summary>
    SingleIssuer = 1u << 12,

    /// <summary>IORING_SETUP_DEFER_TASKRUN (Linux 6.1): completions are worked off only when the issuer enters the kernel.</summary>
    DeferTaskRun = 1u << 13,
}

/// <summary>What the kernel's io_uring offers (IORING_FEAT_*).</summary>
[Flags]
public enum IoUringFeatures : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Both rings are one mapping.</summary>
    SingleMapping = 1u << 0,

    /// <summary>Completions are never dropped.</summary>
    NoDrop = 1u << 1,

    /// <summary>Vectors may be reused as soon as the submission returned.</summary>
    SubmitStable = 1u << 2,

    /// <summary>Poll-driven retries without a worker thread.</summary>
    FastPoll = 1u << 5,

    /// <summary>io_uring_enter takes a timeout.</summary>
    ExtendedArgument = 1u << 8,
}

/// <summary>Operations (IORING_OP_*) that this library prepares.</summary>
public enum IoUringOperation : byte
{
    /// <summary>IORING_OP_NOP.</summary>
    Nop = 0,

    /// <summary>IORING_OP_READV.</summary>
    ReadVector = 1,

    /// <summary>IORING_OP_WRITEV.</summary>
    WriteVector = 2,

    /// <summary>IORING_OP_FSYNC.</summary>
    Fsync = 3,

    /// <summary>IORING_OP_READ_FIXED.</summary>
    ReadFixed = 4,

    /// <summary>IORING_OP_WRITE_FIXED.</summary>
    WriteFixed = 5,

    /// <summary>IORING_OP_POLL_ADD.</summary>
    PollAdd = 6,

    /// <summary>IORING_OP_POLL_REMOVE.</summary>
    PollRemove = 7,

    /// <summary>IORING_OP_ASYNC_CANCEL.</summary>
    Cancel = 14,

    /// <summary>IORING_OP_FALLOCATE.</summary>
    Fallocate = 17,

    /// <summary>IORING_OP_READ.</summary>
    Read = 22,

    /// <summary>IORING_OP_WRITE.</summary>
    Write = 23,

    /// <summary>IORING_OP_MSG_RING.</summary>
    MessageRing = 40,
}

/// <summary>Flags of one request (IOSQE_*).</summary>
[Flags]
public enum IoUringRequestFlags : byte
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>IOSQE_FIXED_FILE: the descriptor is an index into the registered files.</summary>
    FixedFile = 1 << 0,

    /// <summary>IOSQE_IO_DRAIN: starts after all earlier requests completed.</summary>
    Drain = 1 << 1,

    /// <summary>IOSQE_IO_LINK: the next request starts after this one succeeded.</summary>
    Link = 1 << 2,

    /// <summary>IOSQE_IO_HARDLINK: the next request starts after this one completed.</summary>
    HardLink = 1 << 3,

    /// <summary>IOSQE_ASYNC: goes to a worker thread at once.</summary>
    Async = 1 << 4,
}

/// <summary>
/// A submission queue entry (struct io_uring_sqe, 64 bytes). <see cref="IoUring.TryGetEntry"/> gives a zeroed one; one Prepare method fills it.
/// Buffers and vectors must stay valid until the completion (vectors until submission where <see cref="IoUringFeatures.SubmitStable"/>).
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
public unsafe struct IoUringEntry
{
    private const uint IORING_FSYNC_DATASYNC = 1; // linux/io_uring.h
    private const uint IORING_POLL_ADD_MULTI = 1; // linux/io_uring.h

    [FieldOffset(0)] private IoUringOperation _operation;
    [FieldOffset(1)] private IoUringRequestFlags _flags;
    [FieldOffset(4)] private int _fd;
    [FieldOffset(8)] private ulong _offset;
    [FieldOffset(16)] private ulong _address;
    [FieldOffset(24)] private uint _length;
    [FieldOffset(28)] private uint _operationFlags;
    [FieldOffset(32)] private ulong _userData;
    [FieldOffset(40)] private ushort _bufferIndex;

    /// <summary>Comes back in the completion.</summary>
    public ulong UserData
    {
        readonly get => _userData;
        set => _userData = value;
    }

    /// <summary>Flags of the request; set after the Prepare method.</summary>
    public IoUringRequestFlags Flags
    {
        readonly get => _flags;
        set => _flags = value;
    }

    /// <summary>Completes at once.</summary>
    /// <param name="userData">Comes back in the completion.</param>
    public void PrepareNop(ulong userData) => Prepare(IoUringOperation.Nop, -1, 0, null, 0, 0, userData);

    /// <summary>Reads into vectors.</summary>
    /// <param name="fd">Descriptor number, or index with <see cref="IoUringRequestFlags.FixedFile"/>.</param>
    /// <param name="vectors">The buffers.</param>
    /// <param name="count">Their number, at most 1024.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="userData">Comes back in the completion.</param>
    /// <param name="flags">Flags of the read.</param>
    public void PrepareReadVector(
        int fd, IoVector* vectors, int count, ulong offset, ulong userData, ReadWriteFlags flags = ReadWriteFlags.None) =>
        Prepare(IoUringOperation.ReadVector, fd, offset, vectors, (uint)count, (uint)flags, userData);

    /// <summary>Writes vectors.</summary>
    /// <param name="fd">Descriptor number, or index with <see cref="IoUringRequestFlags.FixedFile"/>.</param>
    /// <param name="vectors">The buffers.</param>
    /// <param name="count">Their number, at most 1024.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="userData">Comes back in the completion.</param>
    /// <param name="flags">Flags of the write.</param>
    public void PrepareWriteVector(
        int fd, IoVector* vectors, int count, ulong offset, ulong userData, ReadWriteFlags flags = ReadWriteFlags.None) =>
        Prepare(IoUringOperation.WriteVector, fd, offset, vectors, (uint)count, (uint)flags, userData);

    /// <summary>Reads into one buffer.</summary>
    /// <param name="fd">Descriptor number, or index with <see cref="IoUringRequestFlags.FixedFile"/>.</param>
    /// <param name="buffer">The buffer.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="userData">Comes back in the completion.</param>
    /// <param name="flags">Flags of the read.</param>
    public void PrepareRead(
        int fd, void* buffer, uint length, ulong offset, ulong userData, ReadWriteFlags flags = ReadWriteFlags.None) =>
        Prepare(IoUringOperation.Read, fd, offset, buffer, length, (uint)flags, userData);

    /// <summary>Writes one buffer.</summary>
    /// <param name="fd">Descriptor number, or index with <see cref="IoUringRequestFlags.FixedFile"/>.</param>
    /// <param name="buffer">The buffer.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="userData">Comes back in the completion.</param>
    /// <param name="flags">Flags of the write.</param>
    public void PrepareWrite(
        int fd, void* buffer, uint length, ulong offset, ulong userData, ReadWriteFlags flags = ReadWriteFlags.None) =>
        Prepare(IoUringOperation.Write, fd, offset, buffer, length, (uint)flags, userData);

    /// <summary>Reads into part of a registered buffer.</summary>
    /// <param name="fd">Descriptor number, or index with <see cref="IoUringRequestFlags.FixedFile"/>.</param>
    /// <param name="buffer">First byte, inside the registered buffer.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="bufferIndex">Index of the registered buffer.</param>
    /// <param name="userData">Comes back in the completion.</param>
    public void PrepareReadFixed(int fd, void* buffer, uint length, ulong offset, ushort bufferIndex, ulong userData)
    {
        Prepare(IoUringOperation.ReadFixed, fd, offset, buffer, length, 0, userData);
        _bufferIndex = bufferIndex;
    }

    /// <summary>Writes part of a registered buffer.</summary>
    /// <param name="fd">Descriptor number, or index with <see cref="IoUringRequestFlags.FixedFile"/>.</param>
    /// <param name="buffer">First byte, inside the registered buffer.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="bufferIndex">Index of the registered buffer.</param>
    /// <param name="userData">Comes back in the completion.</param>
    /// <param name="flags">Flags of the write.</param>
    public void PrepareWriteFixed(
        int fd, void* buffer, uint length, ulong offset, ushort bufferIndex, ulong userData, ReadWriteFlags flags = ReadWriteFlags.None)
    {
        Prepare(IoUringOperation.WriteFixed, fd, offset, buffer, length, (uint)flags, userData);
        _bufferIndex = bufferIndex;
    }

    /// <summary>Puts written data on stable storage. Only writes that completed before are covered, unless linked or drained.</summary>
    /// <param name="fd">Descriptor number, or index with <see cref="IoUringRequestFlags.FixedFile"/>.</param>
    /// <param name="userData">Comes back in the completion.</param>
    /// <param name="dataOnly">fdatasync instead of fsync.</param>
    public void PrepareFsync(int fd, ulong userData, bool dataOnly = true) =>
        Prepare(IoUringOperation.Fsync, fd, 0, null, 0, dataOnly ? IORING_FSYNC_DATASYNC : 0, userData);

    /// <summary>Allocates, punches or zeroes a range.</summary>
    /// <param name="fd">Descriptor number, or index with <see cref="IoUringRequestFlags.FixedFile"/>.</param>
    /// <param name="mode">What to do.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="userData">Comes back in the completion.</param>
    public void PrepareFallocate(int fd, FallocateMode mode, ulong offset, ulong length, ulong userData) =>
        Prepare(IoUringOperation.Fallocate, fd, offset, (void*)length, (uint)mode, 0, userData);

    /// <summary>Completes when a descriptor is ready.</summary>
    /// <param name="fd">Descriptor number.</param>
    /// <param name="events">What to wait for.</param>
    /// <param name="userData">Comes back in the completion.</param>
    /// <param name="multishot">Whether to go on after the first completion (Linux 5.13).</param>
    public void PreparePollAdd(int fd, EpollEvents events, ulong userData, bool multishot = false) =>
        Prepare(IoUringOperation.PollAdd, fd, 0, null, multishot ? IORING_POLL_ADD_MULTI : 0, (uint)events, userData);

    /// <summary>Cancels the request with the given user data.</summary>
    /// <param name="target">User data of the request to cancel.</param>
    /// <param name="userData">Comes back in the completion of the cancellation.</param>
    public void PrepareCancel(ulong target, ulong userData) =>
        Prepare(IoUringOperation.Cancel, -1, 0, (void*)target, 0, 0, userData);

    /// <summary>Posts a completion to another ring (Linux 5.18).</summary>
    /// <param name="ringFd">Descriptor number of the other ring.</param>
    /// <param name="result">Result of the completion there.</param>
    /// <param name="targetUserData">User data of the completion there.</param>
    /// <param name="userData">Comes back in the completion here.</param>
    public void PrepareMessage(int ringFd, uint result, ulong targetUserData, ulong userData) =>
        Prepare(IoUringOperation.MessageRing, ringFd, targetUserData, null, result, 0, userData);

    private void Prepare(
        IoUringOperation operation, int fd, ulong offset, void* address, uint length, uint operationFlags, ulong userData)
    {
        _operation = operation;
        _fd = fd;
        _offset = offset;
        _address = (ulong)address;
        _length = length;
        _operationFlags = operationFlags;
        _userData = userData;
    }
}

/// <summary>A completion queue entry (struct io_uring_cqe).</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public readonly struct IoUringCompletion
{
    private const uint IORING_CQE_F_MORE = 2; // linux/io_uring.h

    [FieldOffset(0)] private readonly ulong _userData;
    [FieldOffset(8)] private readonly int _result;
    [FieldOffset(12)] private readonly uint _flags;

    /// <summary>User data of the request.</summary>
    public ulong UserData => _userData;

    /// <summary>Result of the request: a count, or the negative error number.</summary>
    public int Result => _result;

    /// <summary>Whether the request goes on and completes again.</summary>
    public bool HasMore => (_flags & IORING_CQE_F_MORE) != 0;
}

/// <summary>struct io_uring_params, 120 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 120)]
internal struct IoUringParameters
{
    [FieldOffset(0)] public uint SubmissionEntries;
    [FieldOffset(4)] public uint CompletionEntries;
    [FieldOffset(8)] public IoUringSetup Flags;
    [FieldOffset(12)] public uint ThreadCpu;
    [FieldOffset(16)] public uint ThreadIdleMilliseconds;
    [FieldOffset(20)] public IoUringFeatures Features;
    [FieldOffset(40)] public IoUringSubmissionOffsets Submission;
    [FieldOffset(80)] public IoUringCompletionOffsets Completion;
}

/// <summary>struct io_sqring_offsets, 40 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringSubmissionOffsets
{
    public uint Head;
    public uint Tail;
    public uint RingMask;
    public uint RingEntries;
    public uint Flags;
    public uint Dropped;
    public uint Array;
    public uint Reserved;
    public ulong UserAddress;
}

/// <summary>struct io_cqring_offsets, 40 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringCompletionOffsets
{
    public uint Head;
    public uint Tail;
    public uint RingMask;
    public uint RingEntries;
    public uint Overflow;
    public uint Completions;
    public uint Flags;
    public uint Reserved;
    public ulong UserAddress;
}
