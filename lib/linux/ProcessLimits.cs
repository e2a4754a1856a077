using System.Globalization;
using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Capabilities (linux/capability.h) that vhostd may ask about.</summary>
public enum Capability
{
    /// <summary>CAP_NET_ADMIN.</summary>
    NetAdmin = 12,

    /// <summary>CAP_IPC_LOCK: no limit on locked memory.</summary>
    IpcLock = 14,

    /// <summary>CAP_SYS_RAWIO: raw access to PCI resources.</summary>
    SysRawIo = 17,

    /// <summary>CAP_SYS_ADMIN: physical addresses in pagemap, and much else.</summary>
    SysAdmin = 21,

    /// <summary>CAP_SYS_NICE: real-time scheduling.</summary>
    SysNice = 23,
}

/// <summary>What the kernel allows this process.</summary>
public static unsafe class ProcessLimits
{
    private const int RLIMIT_NOFILE = 7; // asm-generic/resource.h
    private const int RLIMIT_MEMLOCK = 8; // asm-generic/resource.h

    /// <summary>Means that there is no limit.</summary>
    public const ulong Unlimited = ulong.MaxValue;

    /// <summary>Soft limit on locked memory in bytes. A process with CAP_IPC_LOCK is not bound by it.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static ulong GetLockedMemoryLimit() => Get(RLIMIT_MEMLOCK).Soft;

    /// <summary>The user whose rights the process has (geteuid(2)).</summary>
    public static uint EffectiveUserId => Libc.geteuid();

    /// <summary>Soft limit on open files.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static ulong GetOpenFilesLimit() => Get(RLIMIT_NOFILE).Soft;

    /// <summary>Raises the soft limit on open files to the hard limit and returns it.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static ulong RaiseOpenFilesLimit()
    {
        (ulong soft, ulong hard) = Get(RLIMIT_NOFILE);
        if (soft != hard)
        {
            ulong* limits = stackalloc ulong[2];
            limits[0] = hard;
            limits[1] = hard;
            if (Libc.setrlimit(RLIMIT_NOFILE, limits) != 0)
            {
                throw LinuxException.Last("setrlimit(RLIMIT_NOFILE)", hard.ToString(CultureInfo.InvariantCulture));
            }
        }

        return hard;
    }

    /// <summary>Whether a capability is effective in this process.</summary>
    /// <param name="capability">The capability.</param>
    public static bool Has(Capability capability)
    {
        foreach (string line in File.ReadLines("/proc/self/status"))
        {
            if (line.StartsWith("CapEff:", StringComparison.Ordinal))
            {
                ulong mask = ulong.Parse(line.AsSpan(7).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                return (mask & (1UL << (int)capability)) != 0;
            }
        }

        return false;
    }

    private static (ulong Soft, ulong Hard) Get(int resource)
    {
        ulong* limits = stackalloc ulong[2];
        return Libc.getrlimit(resource, limits) == 0
            ? (limits[0], limits[1])
            : throw LinuxException.Last("getrlimit");
    }
}

internal static unsafe partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int getrlimit(int resource, ulong* limits);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int setrlimit(int resource, ulong* limits);

    [LibraryImport(Library)]
    internal static partial uint geteuid();
}
