using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>
/// Keeps the process alive when memory that somebody else provides goes away under it: an access beyond the end of a file that was shrunk, to a page for which there
/// is no memory left, or to a page that the hardware lost raises SIGBUS, of which .NET dies. For registered ranges a handler in machine code (managed code cannot
/// run there) puts zeroes in the page's place, counts, and signals the range's owner; every other SIGBUS goes to the former handler. Process-wide; any thread.
/// </summary>
/// <remarks>
/// System calls that are given such memory fail with EFAULT and raise no signal. A count that has changed means that data which was read since from a range that
/// failed may be zeroes, and that data which was written to it may be lost: nothing that depends on it may be reported as done.
/// </remarks>
// SAFETY: the table is native memory that is never freed. Entries are written under a lock and read by the handler without one: an entry counts when its start is
// not 0, which is written last and cleared first, and is read again after the length.
public static unsafe class MemoryFaultGuard
{
    /// <summary>Ranges that can be registered at a time.</summary>
    public const int Capacity = 16384;

    private const int SIGBUS = 7; // asm-generic/signal.h
    private const int SA_SIGINFO = 4; // asm-generic/signal-defs.h
    private const int EntryBytes = 64;
    private const int HeaderBytes = 64;

    private static readonly Lock Gate = new();
    private static readonly TableHeader* Header = (TableHeader*)NativeMemory.AlignedAlloc((Capacity * EntryBytes) + HeaderBytes, HeaderBytes);
    private static bool _isInstalled;
    private static string? _problem;

    static MemoryFaultGuard()
    {
        NativeMemory.Clear(Header, (Capacity * EntryBytes) + HeaderBytes);
        Header->One = 1;
    }

    /// <summary>How often memory of a registered range was replaced by zeroes. Cheap: data paths compare it before they report anything as done.</summary>
    public static ulong FaultCount
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Volatile.Read(ref Header->Faults);
    }

    /// <summary>Installs the handler; the first call does it, later ones return the same.</summary>
    /// <param name="problem">Why it could not be done, or null.</param>
    /// <returns>Whether registered ranges are guarded.</returns>
    public static bool TryInstall(out string? problem)
    {
        lock (Gate)
        {
            if (!_isInstalled && _problem is null)
            {
                _problem = Install();
                _isInstalled = _problem is null;
            }

            problem = _problem;
            return _isInstalled;
        }
    }

    /// <summary>Guards a range until the result is disposed. Dispose it before the memory is unmapped.</summary>
    /// <param name="address">The first byte, at the beginning of a page.</param>
    /// <param name="lengthBytes">Whole pages.</param>
    /// <param name="pageSizeBytes">The size of the pages.</param>
    /// <param name="faulted">Signalled at each fault, or null.</param>
    /// <exception cref="InvalidOperationException">There are <see cref="Capacity"/> ranges already.</exception>
    public static GuardedRange Register(nint address, nuint lengthBytes, nuint pageSizeBytes, EventFd? faulted)
    {
        _ = TryInstall(out _);
        lock (Gate)
        {
            for (var i = 0; i < Capacity; i++)
            {
                var entry = Entry(i);
                if (entry->IsTaken != 0)
                {
                    continue;
                }

                entry->IsTaken = 1;
                entry->LengthBytes = lengthBytes;
                entry->PageSizeBytes = pageSizeBytes;
                entry->Faults = 0;
                var isReferenced = false;
                faulted?.DangerousAddRef(ref isReferenced);
                entry->Event = isReferenced ? faulted!.Raw : -1;
                if ((ulong)i >= Header->Used)
                {
                    Volatile.Write(ref Header->Used, (ulong)i + 1);
                }

                // Release: pairs with the handler's reads of start, length and start again.
                Volatile.Write(ref entry->Start, (ulong)address);
                return new GuardedRange(i, isReferenced ? faulted : null);
            }
        }

        throw new InvalidOperationException($"{Capacity} memory ranges are guarded already");
    }

    /// <summary>Whether any registered range that overlaps this memory has lost a page.</summary>
    /// <param name="address">The first byte.</param>
    /// <param name="lengthBytes">Length, above zero.</param>
    public static bool HasFault(nint address, ulong lengthBytes)
    {
        lock (Gate)
        {
            for (var i = 0; i < (int)Header->Used; i++)
            {
                var entry = Entry(i);
                if (entry->IsTaken != 0 && Volatile.Read(ref entry->Faults) != 0 && (ulong)address < entry->Start + entry->LengthBytes
                    && entry->Start < (ulong)address + lengthBytes)
                {
                    return true;
                }
            }
        }

        return false;
    }

    internal static ulong FaultsOf(int index) => Volatile.Read(ref Entry(index)->Faults);

    internal static void Release(int index)
    {
        lock (Gate)
        {
            Volatile.Write(ref Entry(index)->Start, 0);
            Entry(index)->IsTaken = 0;
        }
    }

    private static TableEntry* Entry(int index) => (TableEntry*)((byte*)Header + HeaderBytes) + index;

    private static string? Install()
    {
        var code = MemoryFaultCode.Bytes;
        if (code.IsEmpty)
        {
            return $"there is no handler for {RuntimeInformation.ProcessArchitecture}";
        }

        var former = default(SignalAction);
        if (Libc.sigaction(SIGBUS, null, &former) != 0)
        {
            return $"sigaction: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}";
        }

        MemoryMapping mapping;
        try
        {
            mapping = MemoryMapping.MapAnonymous((nuint)(code.Length + sizeof(nint)));
            code.CopyTo(new Span<byte>(mapping.Address, code.Length));
            *(TableHeader**)(mapping.Address + code.Length) = Header;

            // Writable first, executable then, never both. Where instructions are cached apart from data (arm64), the kernel brings a page in step as it becomes executable.
            mapping.Protect(0, mapping.Length, MemoryProtection.Read | MemoryProtection.Execute);
        }
        catch (LinuxException exception)
        {
            return exception.Message;
        }

        var start = (nint)mapping.Address;

        // The mapping lasts as long as the process: a signal may be under way at any time.
        mapping.SetHandleAsInvalid();
        Header->FormerHandler = former.Handler is 0 or 1 ? start + MemoryFaultCode.DefaultActionOffset : former.Handler;

        // Mask, alternate stack and the like stay as the former handler had them, because it is called as if it had been entered by the kernel.
        var own = former;
        own.Handler = start;
        own.Flags |= SA_SIGINFO;
        return Libc.sigaction(SIGBUS, &own, null) == 0 ? null : $"sigaction: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}";
    }

    [StructLayout(LayoutKind.Explicit, Size = HeaderBytes)]
    private struct TableHeader
    {
        [FieldOffset(0)]
        public ulong Used;

        [FieldOffset(8)]
        public ulong Faults;

        [FieldOffset(16)]
        public nint FormerHandler;

        /// <summary>What is written to event descriptors.</summary>
        [FieldOffset(24)]
        public ulong One;

        // The rest is a kernel's sigaction of zeroes: the default action.
    }

    [StructLayout(LayoutKind.Explicit, Size = EntryBytes)]
    private struct TableEntry
    {
        [FieldOffset(0)]
        public ulong Start;

        [FieldOffset(8)]
        public ulong LengthBytes;

        [FieldOffset(16)]
        public ulong PageSizeBytes;

        [FieldOffset(24)]
        public ulong Faults;

        [FieldOffset(32)]
        public int Event;

        /// <summary>Managed code's own.</summary>
        [FieldOffset(36)]
        public int IsTaken;
    }
}

/// <summary>The C library's <c>struct sigaction</c> on 64-bit machines.</summary>
[StructLayout(LayoutKind.Explicit, Size = 152)]
internal struct SignalAction
{
    /// <summary>The handler: 0 the default, 1 ignore.</summary>
    [FieldOffset(0)]
    public nint Handler;

    /// <summary>Flags; the signal mask lies between.</summary>
    [FieldOffset(136)]
    public int Flags;
}

internal static partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static unsafe partial int sigaction(int signal, SignalAction* action, SignalAction* former);
}
