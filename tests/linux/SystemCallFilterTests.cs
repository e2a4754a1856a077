using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vhost.Linux.Tests;

/// <summary>The filter, on threads that end with it.</summary>
public sealed partial class SystemCallFilterTests
{
    [Fact]
    public void What_a_server_of_disks_never_needs_fails_and_the_rest_works()
    {
        var failures = new List<string>();
        OnFilteredThread(() =>
        {
            if (unshare(0) == 0 || Marshal.GetLastPInvokeError() != Errno.EPERM)
            {
                failures.Add("unshare is not refused");
            }

            if (mount("none", "/nowhere", "tmpfs", 0, 0) == 0 || Marshal.GetLastPInvokeError() != Errno.EPERM)
            {
                failures.Add("mount is not refused");
            }

            using var file = MemoryFile.Create("filtered", 4096);
            using var mapping = MemoryMapping.MapShared(file.Raw, 0, 4096);
            var (near, far) = UnixSocket.CreatePair();
            near.SendAll([1], default, [file.Raw]);
            if (far.WaitReadable(1000) != WaitResult.Ready)
            {
                failures.Add("a socket does not work");
            }

            near.Dispose();
            far.Dispose();
        });
        Assert.Empty(failures);
    }

    [Fact]
    public void No_program_can_be_run()
    {
        Exception? failure = null;
        OnFilteredThread(() => failure = Record.Exception(() => Process.Start("/bin/true")?.Dispose()));
        Assert.NotNull(failure);
    }

    [Fact]
    public void Other_threads_are_not_concerned_unless_it_is_meant_for_all()
    {
        OnFilteredThread(static () => { });
        Assert.Equal(0, unshare(0));
    }

    private static void OnFilteredThread(Action action)
    {
        Exception? failure = null;
        var thread = new Thread(() => failure = Record.Exception(() =>
        {
            SystemCallFilter.Apply(allThreads: false);
            action();
        }));
        thread.Start();
        thread.Join();
        Assert.Null(failure);
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int unshare(int flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int mount(string source, string target, string type, nuint flags, nint data);
}
