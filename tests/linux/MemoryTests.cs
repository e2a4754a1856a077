namespace Vhost.Linux.Tests;

public sealed unsafe class MemoryTests
{
    [Fact]
    public void Two_mappings_of_a_memory_file_show_the_same_bytes()
    {
        using MemoryFile file = MemoryFile.Create("guest", 1 << 20);
        using MemoryMapping a = MemoryMapping.MapShared(file.Raw, 0, 1 << 20);
        using MemoryMapping b = MemoryMapping.MapShared(file.Raw, 4096, 4096);
        a.Address[4096 + 5] = 0x5a;
        Assert.Equal(0x5a, b.Address[5]);
        Assert.True(a.TryAdvise(MemoryAdvice.DontDump));
    }

    [Fact]
    public void A_sealed_memory_file_cannot_shrink()
    {
        using MemoryFile file = MemoryFile.Create("guest", 8192);
        file.AddSeals(FileSeals.Shrink | FileSeals.Seal);
        Assert.Equal(FileSeals.Shrink | FileSeals.Seal, MemoryFile.GetSeals(file.Raw));
        LinuxException e = Assert.Throws<LinuxException>(() => FileIo.SetLength(file.Raw, 4096));
        Assert.Equal(Errno.EPERM, e.Error);
        Assert.Contains("ftruncate", e.Message, StringComparison.Ordinal);
        Assert.Contains("EPERM", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void File_status_identifies_the_file_behind_two_descriptors()
    {
        using MemoryFile file = MemoryFile.Create("guest", 12288);
        using FileDescriptor copy = file.Duplicate();
        using MemoryFile other = MemoryFile.Create("guest", 12288);
        FileStatus status = FileStatus.Of(file.Raw);
        Assert.Equal(status, FileStatus.Of(copy.Raw));
        Assert.Equal(12288UL, status.Size);
        Assert.Equal(FileKind.Regular, status.Kind);
        Assert.NotEqual(status.Inode, FileStatus.Of(other.Raw).Inode);
        Assert.Equal(FileKind.CharacterDevice, FileStatus.Of("/dev/null").Kind);
        Assert.Equal((1UL << 32) | 3, FileStatus.Of("/dev/null").RepresentedDevice);
    }

    [Fact]
    public void Anonymous_memory_is_aligned_zero_and_given_back_by_advice()
    {
        using MemoryMapping m = MemoryMapping.MapAnonymousAligned(3 << 20, 2 << 20);
        Assert.Equal((nuint)0, (nuint)m.Address % (2 << 20));
        Assert.Equal((nuint)(3 << 20), m.Length);
        m.Address[m.Length - 1] = 1;
        m.Advise(0, m.Length, MemoryAdvice.DontNeed);
        Assert.Equal(0, m.Address[m.Length - 1]);
        Assert.Throws<ArgumentOutOfRangeException>(() => m.Advise(4096, m.Length, MemoryAdvice.DontNeed));
    }

    [Fact]
    public void Resize_keeps_the_contents()
    {
        using MemoryMapping m = MemoryMapping.MapAnonymous(4096);
        m.Address[17] = 42;
        m.Resize(1 << 20);
        Assert.Equal(42, m.Address[17]);
        m.Address[(1 << 20) - 1] = 1;
    }

    [Fact]
    public void A_reservation_takes_files_at_chosen_places()
    {
        using MemoryMapping space = MemoryMapping.Reserve(1 << 20);
        using MemoryFile file = MemoryFile.Create("part", 8192);
        using MemoryMapping view = MemoryMapping.MapShared(file.Raw, 0, 8192);
        view.Address[4096] = 9;
        space.MapSharedInto(65536, file.Raw, 4096, 4096);
        Assert.Equal(9, space.Address[65536]);
        Assert.Throws<ArgumentOutOfRangeException>(() => space.MapSharedInto((1 << 20) - 4096, file.Raw, 0, 8192));
    }

    [Fact]
    public void Huge_pages_come_or_null_comes()
    {
        (ulong total, ulong free) = SystemMemory.GetHugePages(2 << 20);
        using MemoryMapping? m = MemoryMapping.TryMapHugeTlb(1, 2 << 20);
        if (m is not null)
        {
            Assert.Equal((nuint)(2 << 20), m.Length);
            m.Address[0] = 1;
        }
        else
        {
            Assert.True(free == 0, $"{free} of {total} huge pages are free, and none was given");
        }
    }

    [Fact]
    public void A_disposed_mapping_refuses_its_address()
    {
        MemoryMapping m = MemoryMapping.MapAnonymous(1);
        m.Dispose();
        Assert.Throws<ObjectDisposedException>(() => (nint)m.Address);
    }

    [Fact]
    public void Limits_cpus_and_memory_are_readable()
    {
        Assert.NotEqual(0UL, ProcessLimits.GetLockedMemoryLimit());
        Assert.True(ProcessLimits.RaiseOpenFilesLimit() >= 256);
        (ulong total, ulong free) = SystemMemory.GetRam();
        Assert.InRange(free, 1UL, total);
        Assert.Contains(Scheduling.GetCurrentCpu(), Scheduling.GetOnlineCpus());
        Assert.Equal([0, 1, 2, 3, 8], Scheduling.ParseCpuList("0-3,8\n"));
        Assert.Throws<FormatException>(() => Scheduling.ParseCpuList("3-1"));
    }

    [Fact]
    public void A_pinned_thread_stays_on_its_cpu()
    {
        int cpu = Scheduling.GetAllowedCpus()[^1];
        var seen = new HashSet<int>();
        var thread = new Thread(() =>
        {
            Scheduling.PinCurrentThread(cpu);
            for (int i = 0; i < 100; i++)
            {
                seen.Add(Scheduling.GetCurrentCpu());
                Thread.Yield();
            }
        });
        thread.Start();
        Assert.True(thread.Join(60_000));
        Assert.Equal([cpu], seen);
    }

    [Fact]
    public void Page_map_translates_present_pages_where_the_process_may_know()
    {
        using MemoryMapping m = MemoryMapping.MapAnonymous(8192);
        m.Address[0] = 1;
        using var map = new PageMap();
        bool known = map.TryTranslate(m.Address + 12, out ulong physical);
        Assert.Equal(ProcessLimits.Has(Capability.SysAdmin), known);
        if (known)
        {
            Assert.Equal(12UL, physical % 4096);
            Assert.False(map.TryTranslate(m.Address + 4096, out _));
        }
    }
}
