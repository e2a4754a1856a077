namespace Vhost.Linux.Tests;

public sealed unsafe class FileTests
{
    [Fact]
    public void Vectors_are_written_and_read_back_with_data_sync()
    {
        using var directory = new TemporaryDirectory();
        using FileDescriptor file = FileIo.Open(directory.File("d"), OpenMode.ReadWrite | OpenMode.Create);
        byte[] one = [1, 2, 3];
        byte[] two = [4, 5];
        fixed (byte* p = one)
        fixed (byte* q = two)
        {
            IoVector* v = stackalloc IoVector[2] { new IoVector(p, 3), new IoVector(q, 2) };
            Assert.Equal(5, FileIo.TryWriteVector(file.Raw, v, 2, 10, ReadWriteFlags.DataSync));
            one.AsSpan().Clear();
            two.AsSpan().Clear();
            Assert.Equal(5, FileIo.TryReadVector(file.Raw, v, 2, 10));
        }

        Assert.Equal([1, 2, 3], one);
        Assert.Equal([4, 5], two);
        Assert.Equal(0, FileIo.TryDataSync(file.Raw));
        Assert.Equal(15UL, FileStatus.Of(file.Raw).Size);
    }

    [Fact]
    public void Status_tells_the_owner_and_the_permissions()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.File("mode");
        File.WriteAllText(path, "");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.GroupWrite | UnixFileMode.OtherWrite);
        FileStatus status = FileStatus.Of(path);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.GroupWrite | UnixFileMode.OtherWrite, status.Permissions);
        Assert.Equal(ProcessLimits.EffectiveUserId, status.OwnerUserId);
    }

    [Fact]
    public void Errors_come_as_negative_numbers_and_short_files_as_an_exception()
    {
        byte b = 0;
        Assert.Equal(-Errno.EBADF, FileIo.TryRead(-1, &b, 1, 0));
        Assert.Equal(-Errno.EBADF, FileIo.TryWrite(-1, &b, 1, 0));
        Assert.Equal(-Errno.EBADF, FileIo.TryDataSync(-1));
        using MemoryFile file = MemoryFile.Create("f", 3);
        Assert.Throws<EndOfStreamException>(() => FileIo.ReadExactly(file.Raw, new byte[4], 0));
        Assert.Equal(Errno.ENOENT, Assert.Throws<LinuxException>(() => FileIo.Open("/nonexistent/x", OpenMode.ReadOnly)).Error);
    }

    [Fact]
    public void Punched_ranges_read_as_zero_and_show_as_holes()
    {
        using MemoryFile file = MemoryFile.Create("f", 0);
        byte[] data = new byte[16384];
        Array.Fill(data, (byte)7);
        FileIo.WriteExactly(file.Raw, data, 0);
        Assert.Equal(0, FileIo.TryFallocate(file.Raw, FallocateMode.PunchHole | FallocateMode.KeepSize, 4096, 8192));
        FileIo.ReadExactly(file.Raw, data, 0);
        Assert.Equal(8192, data.Count(x => x == 7));
        Assert.All(data.Skip(4096).Take(8192), x => Assert.Equal(0, x));
        Assert.Equal(4096UL, FileIo.FindHole(file.Raw, 0));
        Assert.Equal(12288UL, FileIo.FindData(file.Raw, 4096));
        FileIo.SetLength(file.Raw, 1 << 20);
        Assert.Null(FileIo.FindData(file.Raw, 65536));
    }

    [Fact]
    public void Locks_of_two_open_files_exclude_each_other()
    {
        using var directory = new TemporaryDirectory();
        using FileDescriptor a = FileIo.Open(directory.File("d"), OpenMode.ReadWrite | OpenMode.Create);
        using FileDescriptor b = FileIo.Open(directory.File("d"), OpenMode.ReadWrite);
        Assert.True(FileLock.TryLock(a.Raw, exclusive: false));
        Assert.True(FileLock.TryLock(b.Raw, exclusive: false));
        Assert.False(FileLock.TryLock(b.Raw, exclusive: true));
        Assert.True(FileLock.IsLockedByOther(b.Raw, exclusive: true));
        FileLock.Unlock(a.Raw);
        Assert.True(FileLock.TryLock(b.Raw, exclusive: true));
        Assert.False(FileLock.TryLock(a.Raw, exclusive: false, 100, 1));
        Assert.True(FileLock.TryFlock(a.Raw, exclusive: true));
        Assert.False(FileLock.TryFlock(b.Raw, exclusive: false));
        FileLock.Funlock(a.Raw);
        Assert.True(FileLock.TryFlock(b.Raw, exclusive: false));
    }

    [Fact]
    public void A_file_is_no_block_device_and_the_error_names_the_request()
    {
        using MemoryFile file = MemoryFile.Create("f", 4096);
        LinuxException e = Assert.Throws<LinuxException>(() => BlockDevice.GetSize(file.Raw));
        Assert.Contains("BLKGETSIZE64", e.Message, StringComparison.Ordinal);
        Assert.True(BlockDevice.TryDiscard(file.Raw, 0, 4096) < 0);
    }

    [Fact]
    public void Request_numbers_match_the_header_macros()
    {
        // BLKGETSIZE64 is _IOR(0x12, 114, size_t); VFIO_GET_API_VERSION is _IO(';', 100).
        Assert.Equal(0x80081272u, Ioctl.Read(0x12, 114, 8));
        Assert.Equal(0x3b64u, Ioctl.Io(';', 100));
        Assert.Equal(0x40081271u, Ioctl.Write(0x12, 113, 8));
    }
}
