using Vhost.Bench;
using Vhost.Testing.FrontEnd;

namespace Vhost.Speed.Tests;

/// <summary>vhostd where the kernel forbids io_uring, as container runtimes do by a seccomp profile.</summary>
public sealed class IoUringForbiddenTests
{
    private const string Warning = "io_uring cannot be used, so blocking threads do the I/O";

    // A filter that fails io_uring_setup, number 425 on every architecture, with EPERM; then the program that the arguments name.
    private const string WithoutIoUring =
        """
        import ctypes, os, struct, sys
        filter = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in filter))
        program = ctypes.create_string_buffer(struct.pack("@HP", len(filter), ctypes.addressof(code)))
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        number = ctypes.c_ulong
        if prctl(38, number(1), number(0), number(0), number(0)) or prctl(22, number(2), ctypes.byref(program), number(0), number(0)):
            sys.exit("the filter is refused: " + os.strerror(ctypes.get_errno()))
        os.execv(sys.argv[1], sys.argv[1:])
        """;

    [Fact]
    public void File_bdevs_fall_back_to_threads_and_say_so_once_with_the_remedy()
    {
        using var directory = new TemporaryDirectory();
        var manifest = new VhostdManifest();
        string[] names = ["first", "second"];
        foreach (var name in names)
        {
            var path = Path.Combine(directory.Path, name + ".img");
            using (var file = File.Create(path))
            {
                file.SetLength(4 << 20);
            }

            manifest.File(name, path).Blk("blk-" + name, name);
        }

        using var vhostd = VhostdServer.Start(PublishedParts.Vhostd, directory.Path, manifest, ["python3", "-c", WithoutIoUring]);
        foreach (var name in names)
        {
            WriteAndRead(vhostd.Socket("blk-" + name));
        }

        // The program's log comes here by a thread of its own.
        Assert.True(SpinWait.SpinUntil(() => vhostd.Process.Log.Contains(Warning, StringComparison.Ordinal), 60_000), "nothing is said");
        var warning = Assert.Single(vhostd.Process.Log.Split('\n'), line => line.Contains(Warning, StringComparison.Ordinal));
        Assert.Contains("io_uring_setup", warning, StringComparison.Ordinal);
        Assert.Contains("seccomp profile", warning, StringComparison.Ordinal);
        Assert.Contains("allow", warning, StringComparison.Ordinal);
    }

    [Fact]
    public void Where_it_is_allowed_nothing_is_said()
    {
        using var directory = new TemporaryDirectory();
        var path = Path.Combine(directory.Path, "disk.img");
        File.WriteAllBytes(path, new byte[4 << 20]);
        using var vhostd = VhostdServer.Start(PublishedParts.Vhostd, directory.Path, new VhostdManifest().File("disk", path).Blk("blk", "disk"));
        WriteAndRead(vhostd.Socket("blk"));
        var isForbiddenHere = Linux.IoUring.WhyUnavailable() is not null;
        SpinWait.SpinUntil(() => vhostd.Process.Log.Contains(Warning, StringComparison.Ordinal), isForbiddenHere ? 60_000 : 0);
        Assert.Equal(isForbiddenHere, vhostd.Process.Log.Contains(Warning, StringComparison.Ordinal));
    }

    private static void WriteAndRead(string socket)
    {
        const int Length = 4096;
        using var memory = new GuestMemory(0, 8 << 20);
        using var guest = FrontEndDevice.Connect(socket, memory, new FrontEndOptions());
        var requests = new VirtioBlkRequests(guest, 4, Length);
        var written = new byte[Length];
        new Random(1).NextBytes(written);
        for (var slot = 0; slot < 4; slot++)
        {
            written.CopyTo(requests.Data(slot).Span);
            Assert.True(requests.Execute(guest.RequestQueue(0), slot, isWrite: true, (ulong)slot * 64, Length), requests.DescribeResult(slot));
            requests.Data(slot).Span.Clear();
            Assert.True(requests.Execute(guest.RequestQueue(0), slot, isWrite: false, (ulong)slot * 64, Length), requests.DescribeResult(slot));
            Assert.Equal(written, requests.Data(slot).Span.ToArray());
        }
    }
}
