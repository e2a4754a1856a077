using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Owner, group and mode of files, and the system's names for users and groups.</summary>
public static unsafe class FileOwnership
{
    private const uint Unchanged = uint.MaxValue;
    private const int LookupBufferBytes = 64 * 1024;

    /// <summary>Changes owner and group of a path; null leaves one as it is.</summary>
    /// <param name="path">The path; a symbolic link is not followed.</param>
    /// <param name="userId">The user, or null.</param>
    /// <param name="groupId">The group, or null.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static void Change(string path, uint? userId, uint? groupId)
    {
        if (Libc.lchown(path, userId ?? Unchanged, groupId ?? Unchanged) != 0)
        {
            throw LinuxException.Last("lchown", path);
        }
    }

    /// <summary>Sets the permission bits of an open file; of a socket that is not bound yet, those that its file will get, less the umask.</summary>
    /// <param name="fd">The descriptor number.</param>
    /// <param name="mode">Permission bits.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static void SetMode(int fd, UnixFileMode mode)
    {
        if (Libc.fchmod(fd, (uint)mode) != 0)
        {
            throw LinuxException.Last("fchmod", $"fd {fd}");
        }
    }

    /// <summary>Sets the permission bits of a path.</summary>
    /// <param name="path">The path; symbolic links are followed.</param>
    /// <param name="mode">Permission bits.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static void SetMode(string path, UnixFileMode mode)
    {
        if (Libc.chmod(path, (uint)mode) != 0)
        {
            throw LinuxException.Last("chmod", path);
        }
    }

    /// <summary>The id of a user; a number stands for itself.</summary>
    /// <param name="nameOrId">A name or a decimal number.</param>
    /// <returns>Null if the system has no such user.</returns>
    public static uint? FindUser(string nameOrId)
    {
        if (uint.TryParse(nameOrId, NumberStyles.None, CultureInfo.InvariantCulture, out uint id))
        {
            return id;
        }

        byte[] buffer = ArrayPool<byte>.Shared.Rent(LookupBufferBytes);
        try
        {
            fixed (byte* strings = buffer)
            {
                // SAFETY: the C library fills the record and the strings that it points to, which nobody reads after this.
                PasswordEntry entry;
                PasswordEntry* found = null;
                return Libc.getpwnam_r(nameOrId, &entry, strings, LookupBufferBytes, &found) == 0 && found is not null ? entry.UserId : null;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>The id of a group; a number stands for itself.</summary>
    /// <param name="nameOrId">A name or a decimal number.</param>
    /// <returns>Null if the system has no such group.</returns>
    public static uint? FindGroup(string nameOrId)
    {
        if (uint.TryParse(nameOrId, NumberStyles.None, CultureInfo.InvariantCulture, out uint id))
        {
            return id;
        }

        byte[] buffer = ArrayPool<byte>.Shared.Rent(LookupBufferBytes);
        try
        {
            fixed (byte* strings = buffer)
            {
                // SAFETY: as above.
                GroupEntry entry;
                GroupEntry* found = null;
                return Libc.getgrnam_r(nameOrId, &entry, strings, LookupBufferBytes, &found) == 0 && found is not null ? entry.GroupId : null;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}

/// <summary>struct passwd (pwd.h), 64-bit.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal struct PasswordEntry
{
    [FieldOffset(16)] public uint UserId;
}

/// <summary>struct group (grp.h), 64-bit.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct GroupEntry
{
    [FieldOffset(16)] public uint GroupId;
}

internal static unsafe partial class Libc
{
    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int lchown(string path, uint userId, uint groupId);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int chmod(string path, uint mode);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int fchmod(int fd, uint mode);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int getpwnam_r(string name, PasswordEntry* entry, byte* buffer, nuint length, PasswordEntry** found);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int getgrnam_r(string name, GroupEntry* entry, byte* buffer, nuint length, GroupEntry** found);
}
