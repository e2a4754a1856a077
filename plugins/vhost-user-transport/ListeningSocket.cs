using Vhost.Linux;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>
/// A bound and listening unix socket. A lock file beside it says whether its server lives, so that of two servers that start at once exactly one gets
/// the path and a socket that a killed server left behind is replaced; a connection attempt tells about servers that know no lock file.
/// </summary>
internal sealed class ListeningSocket : IDisposable
{
    private const int ProbeTimeoutMilliseconds = 1000;
    private const int MaxLockAttempts = 16;

    private readonly string _path;
    private readonly FileDescriptor _lock;
    private readonly FileStatus _bound;
    private int _disposed;

    private ListeningSocket(string path, FileDescriptor lockFile, UnixSocket socket, FileStatus bound)
    {
        _path = path;
        _lock = lockFile;
        Socket = socket;
        _bound = bound;
    }

    /// <summary>The socket, non-blocking.</summary>
    internal UnixSocket Socket { get; }

    /// <summary>Binds and listens.</summary>
    /// <param name="path">The path.</param>
    /// <param name="mode">Permission bits of the socket.</param>
    /// <param name="owner">User name or number, or null.</param>
    /// <param name="group">Group name or number, or null.</param>
    /// <exception cref="IOException">It cannot be done; the message says why, and what to do.</exception>
    internal static ListeningSocket Open(string path, UnixFileMode mode, string? owner, string? group)
    {
        var directory = Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/";
        if (!Directory.Exists(directory))
        {
            throw new IOException($"the directory '{directory}' of the socket does not exist; create it, writable for the user that runs vhostd");
        }

        var userId = Resolve(owner, FileOwnership.FindUser, "user");
        var groupId = Resolve(group, FileOwnership.FindGroup, "group");
        var lockFile = TakeLock(path);
        try
        {
            RemoveStale(path);
            return Bind(path, mode, userId, groupId, lockFile);
        }
        catch
        {
            ReleaseLock(path, lockFile);
            throw;
        }
    }

    /// <summary>Stops listening and removes the socket, if it is still the one that was bound here. Idempotent; any thread.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        Socket.Dispose();
        if (IsSameFile(_path, _bound))
        {
            File.Delete(_path);
        }

        ReleaseLock(_path, _lock);
    }

    private static string LockPath(string path) => path + ".lock";

    private static uint? Resolve(string? name, Func<string, uint?> find, string kind) => string.IsNullOrEmpty(name)
        ? null
        : find(name) ?? throw new IOException($"this system has no {kind} '{name}'");

    private static FileDescriptor TakeLock(string path)
    {
        var lockPath = LockPath(path);
        for (var attempt = 0; attempt < MaxLockAttempts; attempt++)
        {
            FileDescriptor file;
            try
            {
                file = FileIo.Open(lockPath, OpenMode.ReadWrite | OpenMode.Create);
            }
            catch (LinuxException exception) when (exception.Error is Errno.EACCES or Errno.EPERM or Errno.EROFS)
            {
                throw new IOException($"'{lockPath}' cannot be created; make its directory writable for the user that runs vhostd", exception);
            }

            if (!FileLock.TryLock(file.Raw, exclusive: true))
            {
                file.Dispose();
                throw new IOException(
                    $"the socket '{path}' is served already: another vhostd, or another transport of this one, holds '{lockPath}'. Stop it, or choose another path");
            }

            // A former holder removes the file before it gives the lock up; a lock on a file without a name protects nothing.
            if (IsSameFile(lockPath, FileStatus.Of(file.Raw)))
            {
                return file;
            }

            file.Dispose();
        }

        throw new IOException($"'{lockPath}' is being replaced by others again and again");
    }

    private static void ReleaseLock(string path, FileDescriptor lockFile)
    {
        if (!lockFile.IsClosed)
        {
            File.Delete(LockPath(path));
            lockFile.Dispose();
        }
    }

    private static void RemoveStale(string path)
    {
        FileStatus status;
        try
        {
            status = FileStatus.Of(path);
        }
        catch (LinuxException exception) when (exception.Error == Errno.ENOENT)
        {
            return;
        }

        if (status.Kind != FileKind.Socket)
        {
            throw new IOException($"'{path}' exists and is no socket; remove it, or choose another path");
        }

        using var probe = UnixSocket.Create();
        try
        {
            probe.Connect(path, ProbeTimeoutMilliseconds);
        }
        catch (LinuxException exception) when (exception.Error == Errno.ECONNREFUSED)
        {
            // Nobody listens, and while the lock is held nobody who honours it can begin to.
            File.Delete(path);
            return;
        }
        catch (LinuxException exception) when (exception.Error == Errno.ENOENT)
        {
            return;
        }
        catch (LinuxException exception) when (exception.Error == Errno.EACCES)
        {
            throw new IOException($"the socket '{path}' exists and belongs to somebody else; remove it if its server is dead, or choose another path", exception);
        }
        catch (LinuxException exception) when (exception.Error == Errno.EAGAIN)
        {
            // Its backlog is full: it lives.
        }

        throw new IOException($"the socket '{path}' is served by a living process; stop that process, or choose another path");
    }

    private static ListeningSocket Bind(string path, UnixFileMode mode, uint? userId, uint? groupId, FileDescriptor lockFile)
    {
        var socket = UnixSocket.Create();
        try
        {
            // Bound without any right and opened up when owner and mode are as they shall be.
            FileOwnership.SetMode(socket.Raw, UnixFileMode.None);
            socket.BindAndListen(path);
            try
            {
                var bound = FileStatus.Of(path);
                if (userId is not null || groupId is not null)
                {
                    FileOwnership.Change(path, userId, groupId);
                }

                FileOwnership.SetMode(path, mode);
                socket.SetNonBlocking(true);
                return new ListeningSocket(path, lockFile, socket, bound);
            }
            catch
            {
                File.Delete(path);
                throw;
            }
        }
        catch (LinuxException exception) when (exception.Error is Errno.EPERM or Errno.EACCES)
        {
            socket.Dispose();
            throw new IOException(
                $"the socket '{path}' cannot be created with this owner: {exception.Message}. Run vhostd as that user, in that group, or as root, and let it write to the directory",
                exception);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static bool IsSameFile(string path, FileStatus status)
    {
        try
        {
            var there = FileStatus.Of(path);
            return there.Device == status.Device && there.Inode == status.Inode;
        }
        catch (LinuxException)
        {
            return false;
        }
    }
}
