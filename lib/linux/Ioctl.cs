using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>ioctl(2) and the request numbers of asm-generic/ioctl.h.</summary>
public static unsafe class Ioctl
{
    /// <summary>_IO: no argument structure.</summary>
    /// <param name="type">The driver's letter.</param>
    /// <param name="number">Number within the driver.</param>
    public static uint Io(uint type, uint number) => (type << 8) | number;

    /// <summary>_IOW: the kernel reads a structure.</summary>
    /// <param name="type">The driver's letter.</param>
    /// <param name="number">Number within the driver.</param>
    /// <param name="size">Size of the structure in bytes.</param>
    public static uint Write(uint type, uint number, int size) => (1u << 30) | ((uint)size << 16) | (type << 8) | number;

    /// <summary>_IOR: the kernel writes a structure.</summary>
    /// <param name="type">The driver's letter.</param>
    /// <param name="number">Number within the driver.</param>
    /// <param name="size">Size of the structure in bytes.</param>
    public static uint Read(uint type, uint number, int size) => (2u << 30) | ((uint)size << 16) | (type << 8) | number;

    /// <summary>Issues a request with a pointer; the result, or the negative error number.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="request">The request number.</param>
    /// <param name="argument">What the request defines; the caller answers for its size.</param>
    public static int TryCall(int fd, uint request, void* argument) => TryCall(fd, request, (nint)argument);

    /// <summary>Issues a request with a number; the result, or the negative error number.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="request">The request number.</param>
    /// <param name="argument">What the request defines.</param>
    public static int TryCall(int fd, uint request, nint argument)
    {
        while (true)
        {
            int result = Libc.ioctl(fd, request, argument);
            if (result >= 0)
            {
                return result;
            }

            int error = Marshal.GetLastPInvokeError();
            if (error != Errno.EINTR)
            {
                return -error;
            }
        }
    }

    /// <summary>Issues a request with a pointer.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="request">The request number.</param>
    /// <param name="argument">What the request defines; the caller answers for its size.</param>
    /// <param name="name">Name of the request for the error text.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static int Call(int fd, uint request, void* argument, string name)
    {
        int result = TryCall(fd, request, (nint)argument);
        return result >= 0 ? result : throw new LinuxException($"ioctl({name})", -result, $"fd {fd}");
    }
}

internal static partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int ioctl(int fd, nuint request, nint argument);
}
