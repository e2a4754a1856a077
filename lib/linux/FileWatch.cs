using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Vhost.Linux;

/// <summary>What an <see cref="FileWatch"/> sees (linux/inotify.h).</summary>
[Flags]
public enum FileChanges : uint
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>IN_MODIFY.</summary>
    Modified = 0x2,

    /// <summary>IN_ATTRIB: metadata, also the length by truncation of another descriptor.</summary>
    Attributes = 0x4,

    /// <summary>IN_CLOSE_WRITE.</summary>
    ClosedAfterWrite = 0x8,

    /// <summary>IN_MOVED_TO.</summary>
    MovedTo = 0x80,

    /// <summary>IN_CREATE.</summary>
    Created = 0x100,

    /// <summary>IN_DELETE.</summary>
    Deleted = 0x200,

    /// <summary>IN_DELETE_SELF.</summary>
    DeletedSelf = 0x400,

    /// <summary>IN_MOVE_SELF.</summary>
    MovedSelf = 0x800,

    /// <summary>IN_Q_OVERFLOW: reports were lost, look at everything.</summary>
    Overflow = 0x4000,
}

/// <summary>One report of a <see cref="FileWatch"/>.</summary>
/// <param name="Watch">The number that <see cref="FileWatch.Add"/> returned; -1 for an overflow.</param>
/// <param name="Changes">What was seen.</param>
/// <param name="Name">Name inside the watched directory; empty for the watched file itself.</param>
public readonly record struct FileChange(int Watch, FileChanges Changes, string Name);

/// <summary>An inotify(7) instance, non-blocking, to be waited for with <see cref="Epoll"/>.</summary>
public sealed unsafe class FileWatch : FileDescriptor
{
    private const int IN_NONBLOCK = 0x800; // sys/inotify.h
    private const int IN_CLOEXEC = 0x80000; // sys/inotify.h
    private const int EventHeaderBytes = 16; // sizeof(struct inotify_event)

    private FileWatch(int fd)
        : base(fd)
    {
    }

    /// <summary>Creates an instance without watches.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static FileWatch Create()
    {
        int fd = Libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        return fd >= 0 ? new FileWatch(fd) : throw LinuxException.Last("inotify_init1");
    }

    /// <summary>Watches a file or a directory; returns the watch's number.</summary>
    /// <param name="path">The path.</param>
    /// <param name="changes">What to report.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public int Add(string path, FileChanges changes)
    {
        int watch = Libc.inotify_add_watch(Raw, path, (uint)changes);
        return watch >= 0 ? watch : throw LinuxException.Last("inotify_add_watch", path);
    }

    /// <summary>Takes the reports that are there; empty where there are none.</summary>
    [SkipLocalsInit]
    public IReadOnlyList<FileChange> Take()
    {
        const int Capacity = 4096;
        byte* buffer = stackalloc byte[Capacity];
        var changes = new List<FileChange>();
        nint length = Libc.read(Raw, buffer, Capacity);
        for (nint at = 0; length - at >= EventHeaderBytes;)
        {
            int watch = Unsafe.ReadUnaligned<int>(buffer + at);
            uint mask = Unsafe.ReadUnaligned<uint>(buffer + at + 4);
            uint nameLength = Unsafe.ReadUnaligned<uint>(buffer + at + 12);
            if (nameLength > (nuint)(length - at - EventHeaderBytes))
            {
                break;
            }

            var name = new ReadOnlySpan<byte>(buffer + at + EventHeaderBytes, (int)nameLength);
            changes.Add(new FileChange(watch, (FileChanges)mask, Encoding.UTF8.GetString(name.TrimEnd((byte)0))));
            at += EventHeaderBytes + (nint)nameLength;
        }

        return changes;
    }
}

internal static partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int inotify_init1(int flags);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int inotify_add_watch(int fd, string path, uint mask);
}
