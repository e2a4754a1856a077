using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>
/// Fetches cache lines that are about to be written, many at a time (PREFETCHW). A plain store to a line that another CPU holds waits for it in the store
/// buffer, one line after the other and everything behind it; an ordinary prefetch fetches the line for reading only, and the store asks the other CPU a second
/// time. .NET has no intrinsic for it, so the loop is machine code.
/// </summary>
public static unsafe class WritePrefetch
{
    // SAFETY: the page stays for the life of the process. The code reads the given pointers and writes nothing.
    private static readonly delegate* unmanaged[SuppressGCTransition]<byte**, nint, void> Code = Map();

    /// <summary>Whether this machine can do it.</summary>
    public static bool IsSupported => Code != null;

    private static ReadOnlySpan<byte> X64 =>
    [
        0x48, 0x85, 0xf6, // test rsi,rsi
        0x7e, 0x0f, // jle done
        // next:
        0x48, 0x8b, 0x07, // mov rax,QWORD PTR [rdi]
        0x0f, 0x0d, 0x08, // prefetchw BYTE PTR [rax]
        0x48, 0x83, 0xc7, 0x08, // add rdi,0x8
        0x48, 0xff, 0xce, // dec rsi
        0x75, 0xf1, // jne next
        // done:
        0xc3, // ret
    ];

    /// <summary>Fetches lines. A hint: nothing is accessed, and an address that is not mapped does no harm. Some nanoseconds a line.</summary>
    /// <param name="addresses">Where the lines are.</param>
    /// <param name="count">How many.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Fetch(byte** addresses, int count)
    {
        if (Code != null)
        {
            Code(addresses, count);
        }
    }

    private static delegate* unmanaged[SuppressGCTransition]<byte**, nint, void> Map()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return null;
        }

        try
        {
            var page = MemoryMapping.MapAnonymous(MemoryMapping.PageSize);
            var start = page.Address;
            X64.CopyTo(new Span<byte>(start, X64.Length));

            // Writable first, executable then, never both.
            page.Protect(0, page.Length, MemoryProtection.Read | MemoryProtection.Execute);

            // The code is used until the process ends.
            page.SetHandleAsInvalid();
            return (delegate* unmanaged[SuppressGCTransition]<byte**, nint, void>)start;
        }
        catch (LinuxException)
        {
            // A system that lets nobody map code lets requests run without the hint.
            return null;
        }
    }
}
