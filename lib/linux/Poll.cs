using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Waiting for single descriptors with poll(2).</summary>
public static unsafe class Poll
{
    internal const short POLLIN = 1; // bits/poll.h
    internal const short POLLOUT = 4; // bits/poll.h

    /// <summary>Waits until a descriptor is readable or hung up; false on timeout or on a signal.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="timeoutMilliseconds">-1 waits without limit.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static bool WaitReadable(int fd, int timeoutMilliseconds)
    {
        var entry = new PollEntry { Fd = fd, Events = POLLIN };
        int count = Libc.poll(&entry, 1, timeoutMilliseconds);
        return count >= 0 || Marshal.GetLastPInvokeError() == Errno.EINTR ? count > 0 : throw LinuxException.Last("poll", $"fd {fd}");
    }
}

/// <summary>struct pollfd (sys/poll.h).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PollEntry
{
    public int Fd;
    public short Events;
    public short ReturnedEvents;
}

internal static unsafe partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int poll(PollEntry* entries, nuint count, int timeout);
}
