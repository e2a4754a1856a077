using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>A system call failed. Names the call, the error number and what was attempted.</summary>
public sealed class LinuxException : IOException
{
    /// <summary>Creates the exception for a failed call.</summary>
    /// <param name="call">Name of the system call, for example <c>mmap</c>.</param>
    /// <param name="error">The positive error number.</param>
    /// <param name="detail">What was attempted, with the names and numbers that a user needs; may be empty.</param>
    public LinuxException(string call, int error, string detail = "")
        : base(Text(call, error, detail))
    {
        Call = call;
        Error = error;
        Detail = detail;
        HResult = error;
    }

    /// <summary>Name of the system call.</summary>
    public string Call { get; }

    /// <summary>The positive error number, one of <see cref="Errno"/>.</summary>
    public int Error { get; }

    /// <summary>What was attempted; may be empty.</summary>
    public string Detail { get; }

    /// <summary>An exception for the error of the last <c>SetLastError</c> call on this thread.</summary>
    internal static LinuxException Last(string call, string detail = "") => new(call, Marshal.GetLastPInvokeError(), detail);

    private static string Text(string call, int error, string detail)
    {
        string what = detail.Length == 0 ? call : $"{call} ({detail})";
        return $"{what}: {Errno.Describe(error)} ({Errno.Name(error)})";
    }
}
