using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Waiting for single descriptors with poll(2).</summary>
public static unsafe class Poll
{
    internal const short POLLIN = 1; // bits/poll.h
    internal const short POLLOUT = 4; // bits/poll.h

    /// <summary>Waits until a descriptor is readable or hung up; false when the time is over. A signal does not end it: the runtime sends some to stop threads for a collection.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="timeoutMilliseconds">-1 waits without limit.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static bool WaitReadable(int fd, int timeoutMilliseconds)
    {
        var entry = new PollEntry { Fd = fd, Events = POLLIN };
        long begin = Stopwatch.GetTimestamp();
        int left = timeoutMilliseconds;
        while (true)
        {
            int count = Libc.poll(&entry, 1, left);
            if (count >= 0)
            {
                return count > 0;
            }

            if (Marshal.GetLastPInvokeError() != Errno.EINTR)
            {
                throw LinuxException.Last("poll", $"fd {fd}");
            }

            if (timeoutMilliseconds >= 0)
            {
                left = (int)Math.Max(0, timeoutMilliseconds - Stopwatch.GetElapsedTime(begin).TotalMilliseconds);
            }
        }
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
