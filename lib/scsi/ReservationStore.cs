using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Scsi;

/// <summary>
/// A directory that keeps the persistent reservations of logical units through a loss of power (APTPL): one file a unit, named after its identifier,
/// replaced as a whole. One process at a time uses a directory. Any thread.
/// </summary>
public sealed partial class ReservationStore
{
    private const string Suffix = ".reservations";

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, ReservationRecord> _records;
    private readonly ILogger _logger;
    private Task _tail = Task.CompletedTask;

    private ReservationStore(string directory, Dictionary<ulong, ReservationRecord> records, ILogger logger)
    {
        Directory = directory;
        _records = records;
        _logger = logger;
    }

    /// <summary>The directory's full path.</summary>
    public string Directory { get; }

    /// <summary>Reads all files of a directory, and makes it if it is not there. Control threads.</summary>
    /// <param name="directory">The directory.</param>
    /// <param name="logger">Is told when something cannot be kept.</param>
    /// <exception cref="InvalidDataException">A file is damaged, or not one of this version; the message names it.</exception>
    /// <exception cref="IOException">The directory or a file cannot be read or made.</exception>
    /// <exception cref="UnauthorizedAccessException">Likewise.</exception>
    public static ReservationStore Open(string directory, ILogger logger)
    {
        var path = Path.GetFullPath(directory);
        // Who may fence whom is nobody else's business.
        System.IO.Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return new ReservationStore(path, Read(path), logger);
    }

    /// <summary>Says what is wrong with a directory, or gives null. Changes nothing.</summary>
    /// <param name="directory">The directory; it may not be there yet.</param>
    public static string? FindFault(string directory)
    {
        try
        {
            if (File.Exists(directory))
            {
                return $"{directory} is a file; a directory is needed";
            }

            if (System.IO.Directory.Exists(directory))
            {
                Read(Path.GetFullPath(directory));
            }

            return null;
        }
        catch (Exception exception) when (exception is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            return exception.Message;
        }
    }

    /// <summary>What is kept of a unit; null if there is nothing.</summary>
    internal ReservationRecord? Find(ulong naa)
    {
        lock (_lock)
        {
            return _records.GetValueOrDefault(naa);
        }
    }

    /// <summary>Keeps a unit's reservations from now on, or nothing of it if there are no registrations. In the order of the calls.</summary>
    /// <returns>Is done when they are on stable storage; fails, after a log message, if they cannot be brought there.</returns>
    internal Task SaveAsync(ReservationRecord record)
    {
        lock (_lock)
        {
            if (record.Registrations.Count == 0)
            {
                _records.Remove(record.Naa);
            }
            else
            {
                _records[record.Naa] = record;
            }

            // Each write is tried, whatever became of the one before.
            return _tail = _tail.ContinueWith(_ => Write(record), CancellationToken.None, TaskContinuationOptions.DenyChildAttach, TaskScheduler.Default);
        }
    }

    private static Dictionary<ulong, ReservationRecord> Read(string directory)
    {
        var records = new Dictionary<ulong, ReservationRecord>();
        foreach (var file in System.IO.Directory.EnumerateFiles(directory, "*" + Suffix))
        {
            try
            {
                if (new FileInfo(file).Length > ReservationRecord.MaxLengthBytes)
                {
                    throw new InvalidDataException("it is too long");
                }

                var record = ReservationRecord.Parse(File.ReadAllText(file));
                if (Path.GetFileName(file) != NameOf(record.Naa))
                {
                    throw new InvalidDataException($"it is that of another unit: its name would be {NameOf(record.Naa)}");
                }

                records.Add(record.Naa, record);
            }
            catch (InvalidDataException exception)
            {
                throw new InvalidDataException(
                    $"{file} cannot be used: {exception.Message}. Whoever knows that no initiator relies on the reservations in it may remove it", exception);
            }
        }

        return records;
    }

    private static string NameOf(ulong naa) => $"naa.{naa:x16}{Suffix}";

    private void Write(ReservationRecord record)
    {
        var file = Path.Combine(Directory, NameOf(record.Naa));
        try
        {
            if (record.Registrations.Count == 0)
            {
                File.Delete(file);
            }
            else
            {
                var temporary = file + ".new";
                using (var stream = new FileStream(temporary, new FileStreamOptions
                {
                    Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
                }))
                {
                    stream.Write(Encoding.UTF8.GetBytes(record.Format()));
                    stream.Flush(flushToDisk: true);
                }

                File.Move(temporary, file, overwrite: true);
            }

            FlushDirectory();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            LogReservationsNotKept(file, exception);
            throw;
        }
    }

    // The runtime opens no directories.
    private void FlushDirectory()
    {
        const int ReadOnlyDirectory = 0x10000 | 0x80000; // O_DIRECTORY | O_CLOEXEC
        using var handle = new SafeFileHandle(Open(Directory, ReadOnlyDirectory), ownsHandle: true);
        if (handle.IsInvalid)
        {
            throw new IOException($"{Directory} cannot be opened: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        RandomAccess.FlushToDisk(handle);
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LoggerMessage(EventId = 1700, Level = LogLevel.Error, Message = "{File} was not written: the persistent reservations would be lost with the power, and the initiator was told so. See that the directory can be written to")]
    private partial void LogReservationsNotKept(string file, Exception exception);
}
