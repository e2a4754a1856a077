using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>
/// An io_uring(7) instance for one issuing thread: <see cref="TryGetEntry"/>, prepare, <see cref="Submit"/>, <see cref="Reap"/>. Nothing on
/// that way allocates or locks. Only the issuer calls members, except <see cref="SafeHandle.Dispose()"/> after the issuer has stopped.
/// </summary>
/// <remarks>
/// Dispose only when no request is in flight: the kernel cancels what it can, but a request that it cannot cancel still writes into its buffer.
/// </remarks>
public sealed unsafe class IoUring : FileDescriptor
{
    private const long OffsetSubmissionRing = 0; // IORING_OFF_SQ_RING
    private const long OffsetCompletionRing = 0x8000000; // IORING_OFF_CQ_RING
    private const long OffsetEntries = 0x10000000; // IORING_OFF_SQES
    private const uint IORING_ENTER_GETEVENTS = 1; // linux/io_uring.h
    private const uint IORING_ENTER_SQ_WAKEUP = 2; // linux/io_uring.h
    private const uint IORING_SQ_NEED_WAKEUP = 1; // linux/io_uring.h
    private const uint IORING_SQ_CQ_OVERFLOW = 2; // linux/io_uring.h
    private const uint IORING_SQ_TASKRUN = 4; // linux/io_uring.h
    private const uint IORING_CQ_EVENTFD_DISABLED = 1; // linux/io_uring.h
    private const uint IORING_REGISTER_BUFFERS = 0; // linux/io_uring.h
    private const uint IORING_UNREGISTER_BUFFERS = 1; // linux/io_uring.h
    private const uint IORING_REGISTER_FILES = 2; // linux/io_uring.h
    private const uint IORING_UNREGISTER_FILES = 3; // linux/io_uring.h
    private const uint IORING_REGISTER_EVENTFD = 4; // linux/io_uring.h
    private const uint IORING_UNREGISTER_EVENTFD = 5; // linux/io_uring.h
    private const uint IORING_REGISTER_FILES_UPDATE = 6; // linux/io_uring.h
    private const uint IORING_REGISTER_PROBE = 8; // linux/io_uring.h
    private const uint IORING_REGISTER_ENABLE_RINGS = 12; // linux/io_uring.h

    private readonly MemoryMapping _submissionRing;
    private readonly MemoryMapping? _completionRing;
    private readonly MemoryMapping _entries;
    private readonly uint* _submissionHead;
    private readonly uint* _submissionTail;
    private readonly uint* _submissionFlags;
    private readonly uint _submissionMask;
    private readonly uint* _completionHead;
    private readonly uint* _completionTail;
    private readonly uint* _completionFlags;
    private readonly uint _completionMask;
    private readonly IoUringEntry* _entryArray;
    private readonly IoUringCompletion* _completionArray;
    private readonly bool _submissionPolling;
    private readonly bool _completionPolling;
    private uint _localTail;
    private uint _submittedTail;
    private long _enterCount;

    private IoUring(
        int fd, in IoUringParameters parameters, MemoryMapping submissionRing, MemoryMapping? completionRing, MemoryMapping entries)
        : base(fd)
    {
        Setup = parameters.Flags;
        Features = parameters.Features;
        _submissionPolling = parameters.Flags.HasFlag(IoUringSetup.SubmissionPolling);
        _completionPolling = parameters.Flags.HasFlag(IoUringSetup.IoPoll);
        SubmissionEntries = parameters.SubmissionEntries;
        CompletionEntries = parameters.CompletionEntries;

        // SAFETY: the kernel reports offsets into mappings of the sizes that Map computed; they stay mapped until ReleaseHandle.
        _submissionRing = submissionRing;
        _completionRing = completionRing;
        _entries = entries;
        byte* submission = _submissionRing.Address;
        byte* completion = completionRing is null ? submission : completionRing.Address;
        _submissionHead = (uint*)(submission + parameters.Submission.Head);
        _submissionTail = (uint*)(submission + parameters.Submission.Tail);
        _submissionFlags = (uint*)(submission + parameters.Submission.Flags);
        _submissionMask = *(uint*)(submission + parameters.Submission.RingMask);
        _completionHead = (uint*)(completion + parameters.Completion.Head);
        _completionTail = (uint*)(completion + parameters.Completion.Tail);
        _completionFlags = (uint*)(completion + parameters.Completion.Flags);
        _completionMask = *(uint*)(completion + parameters.Completion.RingMask);
        _completionArray = (IoUringCompletion*)(completion + parameters.Completion.Completions);
        _entryArray = (IoUringEntry*)_entries.Address;

        // Slot i of the ring always names entry i, so the indirection costs nothing afterwards.
        uint* array = (uint*)(submission + parameters.Submission.Array);
        for (uint i = 0; i < SubmissionEntries; i++)
        {
            array[i] = i;
        }

        _localTail = *_submissionTail;
        _submittedTail = _localTail;
    }

    /// <summary>Flags that the ring was set up with.</summary>
    public IoUringSetup Setup { get; }

    /// <summary>What the kernel offers.</summary>
    public IoUringFeatures Features { get; }

    /// <summary>Entries of the submission ring.</summary>
    public uint SubmissionEntries { get; }

    /// <summary>Entries of the completion ring. Keep no more requests in flight than this.</summary>
    public uint CompletionEntries { get; }

    /// <summary>Entries prepared and not submitted yet.</summary>
    public uint Unsubmitted => _localTail - _submittedTail;

    /// <summary>How often the kernel was entered to submit, to wait or to reap. Any thread may read it.</summary>
    public long EnterCount => Volatile.Read(ref _enterCount);

    /// <summary>Whether completions can be reaped without entering the kernel. Costs two loads.</summary>
    public bool HasCompletions
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Volatile.Read(ref *_completionTail) != *_completionHead
            || (Volatile.Read(ref *_submissionFlags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) != 0;
    }

    /// <summary>
    /// Creates a ring. Flags that only make it faster (single issuer, deferred or cooperative task run, submit all) are dropped
    /// where the kernel is too old for them; <see cref="Setup"/> tells which are in force.
    /// </summary>
    /// <param name="entries">Entries of the submission ring, rounded up to a power of two.</param>
    /// <param name="setup">Flags.</param>
    /// <param name="completionEntries">Entries of the completion ring; 0 for twice the submission ring.</param>
    /// <exception cref="LinuxException">The kernel refuses; the text names the sysctl where io_uring is switched off.</exception>
    public static IoUring Create(uint entries, IoUringSetup setup = IoUringSetup.None, uint completionEntries = 0)
    {
        ReadOnlySpan<IoUringSetup> optional =
        [
            IoUringSetup.DeferTaskRun,
            IoUringSetup.SingleIssuer,
            IoUringSetup.CooperativeTaskRun | IoUringSetup.TaskRunFlag | IoUringSetup.SubmitAll,
        ];
        int next = 0;
        while (true)
        {
            IoUringParameters parameters = default;
            parameters.Flags = setup | (completionEntries != 0 ? IoUringSetup.CompletionQueueSize : 0);
            parameters.CompletionEntries = completionEntries;
            int fd = (int)Libc.io_uring_setup(Libc.SYS_io_uring_setup, entries, &parameters);
            if (fd >= 0)
            {
                return Map(fd, parameters);
            }

            int error = Marshal.GetLastPInvokeError();
            IoUringSetup reduced = setup;
            while (error == Errno.EINVAL && reduced == setup && next < optional.Length)
            {
                reduced &= ~optional[next++];
            }

            if (reduced == setup)
            {
                throw new LinuxException("io_uring_setup", error, $"{entries} entries{Remedy(error)}");
            }

            setup = reduced;
        }
    }

    /// <summary>Why io_uring cannot be used here, or null where it can and offers the given operations.</summary>
    /// <param name="operations">The operations that the caller needs.</param>
    public static string? WhyUnavailable(params ReadOnlySpan<IoUringOperation> operations)
    {
        try
        {
            using IoUring ring = Create(2);
            foreach (IoUringOperation operation in operations)
            {
                if (!ring.Supports(operation))
                {
                    return $"this kernel's io_uring lacks the operation {operation}";
                }
            }

            return null;
        }
        catch (LinuxException e)
        {
            return e.Message;
        }
    }

    /// <summary>Whether the kernel knows an operation (Linux 5.6 and newer can tell; older ones say no).</summary>
    /// <param name="operation">The operation.</param>
    public bool Supports(IoUringOperation operation)
    {
        // SAFETY: struct io_uring_probe is a 16-byte header with 8 bytes an operation; 256 operations fit.
        byte* probe = stackalloc byte[16 + (256 * 8)];
        new Span<byte>(probe, 16 + (256 * 8)).Clear();
        if (Libc.io_uring_register(Libc.SYS_io_uring_register, Raw, IORING_REGISTER_PROBE, probe, 256) < 0)
        {
            return false;
        }

        int count = probe[1];
        return (int)operation < count && (probe[16 + ((int)operation * 8) + 2] & 1 /* IO_URING_OP_SUPPORTED */) != 0;
    }

    /// <summary>Starts a ring created with <see cref="IoUringSetup.Disabled"/>; the calling thread becomes its issuer.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Enable() => Register(IORING_REGISTER_ENABLE_RINGS, null, 0, "IORING_REGISTER_ENABLE_RINGS");

    /// <summary>Signals an eventfd at each completion, so that a sleeping issuer wakes.</summary>
    /// <param name="eventFd">The descriptor number of the eventfd.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void RegisterEventFd(int eventFd) => Register(IORING_REGISTER_EVENTFD, &eventFd, 1, "IORING_REGISTER_EVENTFD");

    /// <summary>Ends <see cref="RegisterEventFd"/>.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void UnregisterEventFd() => Register(IORING_UNREGISTER_EVENTFD, null, 0, "IORING_UNREGISTER_EVENTFD");

    /// <summary>
    /// Switches the signalling of the registered eventfd without entering the kernel. After switching on, look at
    /// <see cref="HasCompletions"/> once more before sleeping.
    /// </summary>
    /// <param name="enabled">Whether completions signal.</param>
    public void SetEventFdEnabled(bool enabled)
    {
        Volatile.Write(ref *_completionFlags, enabled ? 0 : IORING_CQ_EVENTFD_DISABLED);

        // Full fence: the store above before the caller's look at the completion tail. Pairs with the kernel, which
        // publishes the tail before it reads this flag.
        Interlocked.MemoryBarrier();
    }

    /// <summary>Registers buffers for the fixed operations; they stay pinned until unregistered.</summary>
    /// <param name="buffers">The buffers; anonymous or hugetlb memory, at most 1 GiB each.</param>
    /// <exception cref="LinuxException">The kernel refuses, mostly for RLIMIT_MEMLOCK on older kernels.</exception>
    public void RegisterBuffers(ReadOnlySpan<IoVector> buffers)
    {
        fixed (IoVector* vectors = buffers)
        {
            Register(IORING_REGISTER_BUFFERS, vectors, (uint)buffers.Length, "IORING_REGISTER_BUFFERS");
        }
    }

    /// <summary>Ends <see cref="RegisterBuffers"/>; waits for requests that use them.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void UnregisterBuffers() => Register(IORING_UNREGISTER_BUFFERS, null, 0, "IORING_UNREGISTER_BUFFERS");

    /// <summary>Registers files for <see cref="IoUringRequestFlags.FixedFile"/>.</summary>
    /// <param name="fds">Descriptor numbers, -1 for places that are free (Linux 5.5 and newer); the ring holds references of its own.</param>
    /// <returns>False if the kernel refuses.</returns>
    public bool TryRegisterFiles(ReadOnlySpan<int> fds)
    {
        fixed (int* numbers = fds)
        {
            return Libc.io_uring_register(Libc.SYS_io_uring_register, Raw, IORING_REGISTER_FILES, numbers, (uint)fds.Length) >= 0;
        }
    }

    /// <summary>Puts another file in a registered place. The file that was there is let go when the last request with it is done; Linux 6.13 and newer does that at once.</summary>
    /// <param name="index">The place.</param>
    /// <param name="fd">Descriptor number, or -1 for none.</param>
    /// <returns>False if the kernel refuses.</returns>
    public bool TryUpdateFile(int index, int fd)
    {
        // SAFETY: struct io_uring_rsrc_update: u32 offset, u32 reserved, u64 address of the numbers. The kernel reads it within the call.
        var update = stackalloc ulong[2] { (uint)index, (ulong)&fd };
        return Libc.io_uring_register(Libc.SYS_io_uring_register, Raw, IORING_REGISTER_FILES_UPDATE, update, 1) == 1;
    }

    /// <summary>Ends <see cref="TryRegisterFiles"/>.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void UnregisterFiles() => Register(IORING_UNREGISTER_FILES, null, 0, "IORING_UNREGISTER_FILES");

    /// <summary>A zeroed entry to prepare, or null where the submission ring is full: submit first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public IoUringEntry* TryGetEntry()
    {
        // Acquire: pairs with the kernel's release of the head after it has read the entry.
        if (_localTail - Volatile.Read(ref *_submissionHead) > _submissionMask)
        {
            return null;
        }

        IoUringEntry* entry = _entryArray + (_localTail & _submissionMask);
        *entry = default;
        _localTail++;
        return entry;
    }

    /// <summary>
    /// Submits the prepared entries and optionally waits. Returns how many entries the kernel took, or the negative error number
    /// (EAGAIN and EBUSY: reap and try again; nothing is lost, the entries stay in the ring).
    /// </summary>
    /// <param name="waitFor">Completions to wait for; 0 does not wait.</param>
    public int Submit(uint waitFor = 0)
    {
        // Release: the entries before the tail. Pairs with the kernel's acquire of the tail.
        Volatile.Write(ref *_submissionTail, _localTail);
        uint flags = waitFor != 0 ? IORING_ENTER_GETEVENTS : 0;
        uint pending = _localTail - _submittedTail;
        if (_submissionPolling)
        {
            // Full fence: the tail before the look at the flag. Pairs with the kernel thread, which sets the flag before it re-reads the tail.
            Interlocked.MemoryBarrier();
            _submittedTail = _localTail;
            if ((Volatile.Read(ref *_submissionFlags) & IORING_SQ_NEED_WAKEUP) != 0)
            {
                flags |= IORING_ENTER_SQ_WAKEUP;
            }

            if (flags == 0)
            {
                return (int)pending;
            }
        }
        else if (pending == 0 && waitFor == 0)
        {
            return 0;
        }

        int result = Enter(pending, waitFor, flags);
        if (result > 0 && !_submissionPolling)
        {
            _submittedTail += (uint)result;
        }

        return result;
    }

    /// <summary>
    /// Takes completions. Enters the kernel only where the ring says that some wait there, or where the ring is polled.
    /// </summary>
    /// <param name="completions">Receives the completions.</param>
    /// <returns>Number of completions taken.</returns>
    public int Reap(Span<IoUringCompletion> completions)
    {
        uint head = *_completionHead;

        // Acquire: the tail before the entries. Pairs with the kernel's release of the tail.
        uint tail = Volatile.Read(ref *_completionTail);
        if (head == tail)
        {
            bool waiting = (Volatile.Read(ref *_submissionFlags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) != 0;
            if (!waiting && !_completionPolling)
            {
                return 0;
            }

            _ = Enter(0, 0, IORING_ENTER_GETEVENTS);
            tail = Volatile.Read(ref *_completionTail);
        }

        int count = (int)Math.Min(tail - head, (uint)completions.Length);
        for (int i = 0; i < count; i++)
        {
            completions[i] = _completionArray[(head + (uint)i) & _completionMask];
        }

        // Release: the entries are read before the kernel may reuse them. Pairs with the kernel's acquire of the head.
        Volatile.Write(ref *_completionHead, head + (uint)count);
        return count;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        _submissionRing.Dispose();
        _completionRing?.Dispose();
        _entries.Dispose();
        return base.ReleaseHandle();
    }

    private static IoUring Map(int fd, in IoUringParameters parameters)
    {
        MemoryMapping? submission = null;
        MemoryMapping? completion = null;
        try
        {
            nuint submissionBytes = parameters.Submission.Array + (parameters.SubmissionEntries * sizeof(uint));
            nuint completionBytes = parameters.Completion.Completions + (parameters.CompletionEntries * (uint)sizeof(IoUringCompletion));
            bool single = parameters.Features.HasFlag(IoUringFeatures.SingleMapping);
            if (single)
            {
                submissionBytes = Math.Max(submissionBytes, completionBytes);
            }

            submission = MemoryMapping.MapShared(fd, OffsetSubmissionRing, submissionBytes, populate: true);
            completion = single ? null : MemoryMapping.MapShared(fd, OffsetCompletionRing, completionBytes, populate: true);
            nuint entryBytes = parameters.SubmissionEntries * (uint)sizeof(IoUringEntry);
            MemoryMapping entries = MemoryMapping.MapShared(fd, OffsetEntries, entryBytes, populate: true);
            return new IoUring(fd, parameters, submission, completion, entries);
        }
        catch
        {
            submission?.Dispose();
            completion?.Dispose();
            CloseRaw(fd);
            throw;
        }
    }

    private static string Remedy(int error)
    {
        const string Path = "/proc/sys/kernel/io_uring_disabled";
        var disabled = error == Errno.EPERM && File.Exists(Path) ? File.ReadAllText(Path).Trim() : "0";
        return error switch
        {
            Errno.ENOSYS => "; this kernel is built without io_uring, or a sandbox hides it",
            Errno.EPERM when disabled != "0" =>
                $"; io_uring is switched off here: kernel.io_uring_disabled is {disabled}, 0 allows it (sysctl -w kernel.io_uring_disabled=0), "
                + "1 allows it to the group kernel.io_uring_group; a seccomp profile may forbid it as well",
            Errno.EPERM => "; a seccomp profile forbids io_uring, most likely a container's or a service's: allow io_uring_setup, io_uring_enter and io_uring_register there",
            Errno.ENOMEM => "; raise the limit on locked memory (ulimit -l, LimitMEMLOCK=)",
            _ => "",
        };
    }

    private int Enter(uint submit, uint waitFor, uint flags)
    {
        Volatile.Write(ref _enterCount, _enterCount + 1);
        long result = Libc.io_uring_enter(Libc.SYS_io_uring_enter, Raw, submit, waitFor, flags, null, 0);
        if (result >= 0)
        {
            return (int)result;
        }

        // An interrupted wait has submitted already or will be repeated by the caller's next turn.
        int error = Marshal.GetLastPInvokeError();
        return error == Errno.EINTR ? 0 : -error;
    }

    private void Register(uint operation, void* argument, uint count, string name)
    {
        if (Libc.io_uring_register(Libc.SYS_io_uring_register, Raw, operation, argument, count) < 0)
        {
            throw LinuxException.Last($"io_uring_register({name})", $"{count} items");
        }
    }
}

internal static unsafe partial class Libc
{
    // asm-generic/unistd.h: the same numbers on every architecture. glibc has no wrappers.
    internal const nint SYS_io_uring_setup = 425;
    internal const nint SYS_io_uring_enter = 426;
    internal const nint SYS_io_uring_register = 427;

    [LibraryImport(Library, EntryPoint = "syscall", SetLastError = true)]
    internal static partial long io_uring_setup(nint number, nuint entries, IoUringParameters* parameters);

    [LibraryImport(Library, EntryPoint = "syscall", SetLastError = true)]
    internal static partial long io_uring_enter(
        nint number, nint fd, nuint submit, nuint waitFor, nuint flags, void* argument, nuint argumentSize);

    [LibraryImport(Library, EntryPoint = "syscall", SetLastError = true)]
    internal static partial long io_uring_register(nint number, nint fd, nuint operation, void* argument, nuint count);
}
