using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>
/// Takes system calls from the process that a server of disks never needs (seccomp, kernel 3.17 and newer): running programs, looking into other processes,
/// mounting, kernel modules, name spaces, keys, clocks. They fail with EPERM from then on, for all threads and for good. What gets hold of the process through a
/// fault in it has that much less to work with.
/// </summary>
public static unsafe class SystemCallFilter
{
    private const int PR_SET_NO_NEW_PRIVS = 38;
    private const uint SECCOMP_SET_MODE_FILTER = 1;
    private const uint SECCOMP_FILTER_FLAG_TSYNC = 1;
    private const uint SECCOMP_RET_ALLOW = 0x7fff_0000;
    private const uint SECCOMP_RET_ERRNO = 0x0005_0000;
    private const ushort LoadWord = 0x20;       // BPF_LD | BPF_W | BPF_ABS
    private const ushort JumpIfEqual = 0x15;    // BPF_JMP | BPF_JEQ | BPF_K
    private const ushort JumpIfNotLess = 0x35;  // BPF_JMP | BPF_JGE | BPF_K
    private const ushort Return = 0x06;         // BPF_RET | BPF_K
    private const uint NumberOffset = 0;        // of nr in struct seccomp_data
    private const uint ArchitectureOffset = 4;  // of arch
    private const uint X32Bit = 0x4000_0000;

    /// <summary>Whether there is a filter for this machine's architecture.</summary>
    public static bool IsSupported => Table is not null;

    private static (uint Architecture, nint SeccompNumber, ushort[] Denied)? Table => RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => (0xc000_003e, 317, DeniedX64),
        Architecture.Arm64 => (0xc000_00b7, 277, DeniedArm64),
        _ => null,
    };

    // execve, execveat; ptrace, process_vm_readv, process_vm_writev, kcmp; mount, umount2, pivot_root, chroot, open_tree, move_mount, fsopen, fsconfig, fsmount,
    // fspick, mount_setattr, swapon, swapoff, quotactl; init_module, finit_module, delete_module, kexec_load, kexec_file_load, reboot; unshare, setns;
    // add_key, request_key, keyctl; settimeofday, clock_settime, adjtimex, clock_adjtime; bpf, perf_event_open, userfaultfd; name_to_handle_at,
    // open_by_handle_at, mknodat; acct, syslog, vhangup, sethostname, setdomainname, personality; on x64 also iopl, ioperm, modify_ldt, mknod.
    private static ushort[] DeniedX64 { get; } =
    [
        59, 322, 101, 310, 311, 312, 165, 166, 155, 161, 428, 429, 430, 431, 432, 433, 442, 167, 168, 179, 175, 313, 176, 246, 320, 169, 272, 308, 248, 249, 250,
        164, 227, 159, 305, 321, 298, 323, 303, 304, 259, 163, 103, 153, 170, 171, 135, 172, 173, 154, 133,
    ];

    private static ushort[] DeniedArm64 { get; } =
    [
        221, 281, 117, 270, 271, 272, 40, 39, 41, 51, 428, 429, 430, 431, 432, 433, 442, 224, 225, 60, 105, 273, 106, 104, 294, 142, 97, 268, 217, 218, 219, 170, 112,
        171, 266, 280, 241, 282, 264, 265, 33, 89, 116, 58, 161, 162, 92,
    ];

    /// <summary>Applies the filter.</summary>
    /// <param name="allThreads">Every thread of the process, or the calling one alone.</param>
    /// <exception cref="LinuxException">The kernel has no seccomp, or refuses.</exception>
    /// <exception cref="PlatformNotSupportedException">There is no filter for this architecture.</exception>
    public static void Apply(bool allThreads = true)
    {
        var (architecture, seccomp, denied) = Table ?? throw new PlatformNotSupportedException($"there is no system call filter for {RuntimeInformation.ProcessArchitecture}");
        // The order: another architecture's calls have other numbers, so they are denied whole.
        var program = new List<Instruction>
        {
            new(LoadWord, 0, 0, ArchitectureOffset),
            new(JumpIfEqual, 1, 0, architecture),
            new(Return, 0, 0, SECCOMP_RET_ERRNO | Errno.EPERM),
            new(LoadWord, 0, 0, NumberOffset),
        };
        if (RuntimeInformation.ProcessArchitecture == Architecture.X64)
        {
            program.Add(new(JumpIfNotLess, 0, 1, X32Bit));
            program.Add(new(Return, 0, 0, SECCOMP_RET_ERRNO | Errno.EPERM));
        }

        foreach (var number in denied)
        {
            program.Add(new(JumpIfEqual, 0, 1, number));
            program.Add(new(Return, 0, 0, SECCOMP_RET_ERRNO | Errno.EPERM));
        }

        program.Add(new(Return, 0, 0, SECCOMP_RET_ALLOW));
        // Without this a filter takes a privilege; with it no program that is run could gain one.
        if (Libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        {
            throw LinuxException.Last("prctl", "PR_SET_NO_NEW_PRIVS");
        }

        var instructions = program.ToArray();
        // SAFETY: the kernel copies the program before the call returns.
        fixed (Instruction* first = instructions)
        {
            var description = new Program((ushort)instructions.Length, first);
            var result = Libc.seccomp(seccomp, SECCOMP_SET_MODE_FILTER, allThreads ? SECCOMP_FILTER_FLAG_TSYNC : 0, &description);
            if (result != 0)
            {
                throw result > 0
                    ? new LinuxException("seccomp", Errno.EBUSY, $"thread {result} has a filter of its own")
                    : LinuxException.Last("seccomp", "SECCOMP_SET_MODE_FILTER");
            }
        }
    }

    /// <summary>struct sock_filter.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Instruction(ushort Code, byte IfTrue, byte IfFalse, uint Operand);

    /// <summary>struct sock_fprog.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private readonly struct Program(ushort length, Instruction* instructions)
    {
        private readonly ushort _length = length;
        private readonly Instruction* _instructions = instructions;
    }
}

/// <content>What this file calls.</content>
internal static unsafe partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int prctl(int option, nuint arg2, nuint arg3, nuint arg4, nuint arg5);

    [LibraryImport(Library, EntryPoint = "syscall", SetLastError = true)]
    internal static partial nint seccomp(nint number, uint operation, uint flags, void* arguments);
}
