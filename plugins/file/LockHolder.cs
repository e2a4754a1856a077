using System.Globalization;
using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <summary>Finds who has locked a file, for the error message. The lock belongs to an open file, not to a process, so /proc is searched.</summary>
internal static class LockHolder
{
    /// <summary>Name and process id of a holder; null where this user sees none.</summary>
    /// <param name="file">The locked file.</param>
    public static string? Find(FileStatus file)
    {
        foreach (var process in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(process), NumberStyles.None, CultureInfo.InvariantCulture, out var pid))
            {
                continue;
            }

            try
            {
                foreach (var entry in Directory.EnumerateFiles($"{process}/fdinfo"))
                {
                    if (System.IO.File.ReadAllText(entry).Contains("\nlock:", StringComparison.Ordinal) && IsSame($"{process}/fd/{Path.GetFileName(entry)}", file))
                    {
                        return $"{System.IO.File.ReadAllText($"{process}/comm").Trim()} (process {pid})";
                    }
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The process is gone, or another user's.
            }
        }

        return null;
    }

    private static bool IsSame(string descriptor, FileStatus file)
    {
        try
        {
            var status = FileStatus.Of(descriptor);
            return (status.Device, status.Inode) == (file.Device, file.Inode);
        }
        catch (LinuxException)
        {
            return false; // closed meanwhile
        }
    }
}
