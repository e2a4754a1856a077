namespace Vhost.Linux.Tests;

public sealed unsafe class IoUringTests
{
    private const IoUringSetup Reactor = IoUringSetup.SingleIssuer | IoUringSetup.DeferTaskRun | IoUringSetup.CooperativeTaskRun
        | IoUringSetup.TaskRunFlag | IoUringSetup.SubmitAll;

    /// <summary>Where the machine forbids io_uring, the reason must be a sentence that names the remedy, and nothing else is asked.</summary>
    private static bool Usable()
    {
        string? reason = IoUring.WhyUnavailable();
        if (reason is not null)
        {
            Assert.Matches("io_uring", reason);
            return false;
        }

        return true;
    }

    [Theory]
    [InlineData(IoUringSetup.None)]
    [InlineData(Reactor)]
    public void Writes_sync_and_reads_go_through_the_ring(IoUringSetup setup)
    {
        if (!Usable())
        {
            return;
        }

        using var directory = new TemporaryDirectory();
        using FileDescriptor file = FileIo.Open(directory.File("d"), OpenMode.ReadWrite | OpenMode.Create);
        using IoUring ring = IoUring.Create(8, setup);
        using MemoryMapping memory = MemoryMapping.MapAnonymous(8192);
        new Span<byte>(memory.Address, 4096).Fill(0xab);
        ring.RegisterBuffers([new IoVector(memory.Address, 8192)]);
        IoVector* vectors = stackalloc IoVector[2] { new IoVector(memory.Address, 1000), new IoVector(memory.Address + 1000, 3096) };

        ring.TryGetEntry()->PrepareWriteVector(file.Raw, vectors, 2, 4096, 1, ReadWriteFlags.DataSync);
        Assert.Equal(4096, Complete(ring, 1));
        ring.TryGetEntry()->PrepareWriteFixed(file.Raw, memory.Address, 4096, 0, 0, 2);
        Assert.Equal(4096, Complete(ring, 2));
        ring.TryGetEntry()->PrepareFsync(file.Raw, 3);
        Assert.Equal(0, Complete(ring, 3));
        ring.TryGetEntry()->PrepareReadFixed(file.Raw, memory.Address + 4096, 4096, 4096, 0, 4);
        Assert.Equal(4096, Complete(ring, 4));
        Assert.Equal(4096, new Span<byte>(memory.Address + 4096, 4096).Count((byte)0xab));
        ring.TryGetEntry()->PrepareRead(file.Raw, memory.Address, 4096, 8192, 5);
        Assert.Equal(0, Complete(ring, 5));
        ring.TryGetEntry()->PrepareRead(-1, memory.Address, 4096, 8192, 6);
        Assert.Equal(-Errno.EBADF, Complete(ring, 6));
        ring.TryGetEntry()->PrepareFallocate(file.Raw, FallocateMode.Allocate, 0, 65536, 7);
        Assert.Equal(0, Complete(ring, 7));
        Assert.Equal(65536UL, FileStatus.Of(file.Raw).Size);
    }

    [Fact]
    public void A_registered_file_is_used_by_its_number_and_let_go_when_it_is_taken_out()
    {
        if (!Usable())
        {
            return;
        }

        using var directory = new TemporaryDirectory();
        using FileDescriptor other = FileIo.Open(directory.File("d"), OpenMode.ReadWrite | OpenMode.Create);
        using IoUring ring = IoUring.Create(8, Reactor);
        using MemoryMapping memory = MemoryMapping.MapAnonymous(4096);
        FileIo.WriteExactly(other.Raw, new byte[] { 1, 2, 3, 4 }, 0);
        Assert.True(ring.TryRegisterFiles([-1, -1]));
        using (FileDescriptor file = FileIo.Open(directory.File("d"), OpenMode.ReadWrite))
        {
            Assert.True(FileLock.TryLock(file.Raw, exclusive: true));
            Assert.True(ring.TryUpdateFile(1, file.Raw));
        }

        // The ring holds the open file, and its lock with it.
        Assert.False(FileLock.TryLock(other.Raw, exclusive: true));
        Assert.Equal(4, ReadByNumber(1));
        Assert.Equal([1, 2, 3, 4], new Span<byte>(memory.Address, 4).ToArray());
        Assert.Equal(-Errno.EBADF, ReadByNumber(0));

        Assert.True(ring.TryUpdateFile(1, -1));
        Assert.Equal(-Errno.EBADF, ReadByNumber(1));
        Assert.False(ring.TryUpdateFile(2, other.Raw));
        if (Environment.OSVersion.Version >= new Version(6, 13)) // before that some time later
        {
            Assert.True(FileLock.TryLock(other.Raw, exclusive: true));
        }

        int ReadByNumber(int number)
        {
            IoUringEntry* entry = ring.TryGetEntry();
            entry->PrepareRead(number, memory.Address, 4, 0, 9);
            entry->Flags = IoUringRequestFlags.FixedFile;
            return Complete(ring, 9);
        }
    }

    [Fact]
    public void A_full_ring_gives_no_entry_until_submitted_and_batches_complete_whole()
    {
        if (!Usable())
        {
            return;
        }

        using IoUring ring = IoUring.Create(4, Reactor);
        var completions = new IoUringCompletion[16];
        for (int round = 0; round < 100; round++)
        {
            for (uint i = 0; i < ring.SubmissionEntries; i++)
            {
                ring.TryGetEntry()->PrepareNop(i);
            }

            Assert.True(ring.TryGetEntry() is null);
            Assert.Equal(4u, ring.Unsubmitted);
            Assert.Equal(4, ring.Submit(waitFor: 4));
            Assert.Equal(4, ring.Reap(completions));
            Assert.Equal([0, 1, 2, 3], completions.Take(4).Select(c => (int)c.UserData).Order());
        }
    }

    [Fact]
    public void More_completions_than_the_ring_holds_are_not_lost()
    {
        if (!Usable())
        {
            return;
        }

        using IoUring ring = IoUring.Create(4, IoUringSetup.None, completionEntries: 4);
        Assert.True(ring.Features.HasFlag(IoUringFeatures.NoDrop));
        for (uint i = 0; i < 12; i++)
        {
            ring.TryGetEntry()->PrepareNop(i);
            Assert.Equal(1, ring.Submit());
        }

        var seen = new List<ulong>();
        var completions = new IoUringCompletion[16];
        for (int turn = 0; turn < 10 && seen.Count < 12; turn++)
        {
            int count = ring.Reap(completions);
            seen.AddRange(completions.Take(count).Select(c => c.UserData));
        }

        Assert.Equal(Enumerable.Range(0, 12).Select(i => (ulong)i), seen);
    }

    [Fact]
    public void An_eventfd_wakes_the_sleeping_issuer_and_can_be_silenced()
    {
        if (!Usable())
        {
            return;
        }

        using IoUring ring = IoUring.Create(4, Reactor);
        using EventFd wake = EventFd.Create();
        using EventFd source = EventFd.Create();
        ring.RegisterEventFd(wake.Raw);
        var completions = new IoUringCompletion[4];
        ring.TryGetEntry()->PreparePollAdd(source.Raw, EpollEvents.In, 1);
        Assert.Equal(1, ring.Submit());
        Assert.Equal(0UL, wake.Drain());
        source.Signal();
        Assert.True(Poll.WaitReadable(wake.Raw, 60_000));
        Assert.NotEqual(0UL, wake.Drain());
        Assert.True(ring.HasCompletions);
        Assert.Equal(1, ring.Reap(completions));
        Assert.Equal((int)EpollEvents.In, completions[0].Result);

        // A deferred ring may signal twice for one completion: when it is queued and when it is posted.
        _ = wake.Drain();
        ring.SetEventFdEnabled(false);
        ring.TryGetEntry()->PrepareNop(2);
        Assert.Equal(1, ring.Submit(waitFor: 1));
        Assert.Equal(0UL, wake.Drain());
        Assert.Equal(1, ring.Reap(completions));
        ring.SetEventFdEnabled(true);
        ring.TryGetEntry()->PrepareNop(3);
        Assert.Equal(1, ring.Submit(waitFor: 1));
        Assert.NotEqual(0UL, wake.Drain());
    }

    [Fact]
    public void A_disabled_ring_belongs_to_the_thread_that_enables_it()
    {
        if (!Usable())
        {
            return;
        }

        using IoUring ring = IoUring.Create(4, Reactor | IoUringSetup.Disabled);
        int submitted = 0;
        var issuer = new Thread(() =>
        {
            ring.Enable();
            ring.TryGetEntry()->PrepareNop(1);
            submitted = ring.Submit(waitFor: 1);
        });
        issuer.Start();
        Assert.True(issuer.Join(60_000));
        Assert.Equal(1, submitted);
        if (ring.Setup.HasFlag(IoUringSetup.SingleIssuer))
        {
            ring.TryGetEntry()->PrepareNop(2);
            Assert.Equal(-Errno.EEXIST, ring.Submit());
        }
    }

    [Fact]
    public void Cancel_ends_a_waiting_request_and_a_message_reaches_another_ring()
    {
        if (!Usable())
        {
            return;
        }

        using IoUring ring = IoUring.Create(4);
        using EventFd never = EventFd.Create();
        ring.TryGetEntry()->PreparePollAdd(never.Raw, EpollEvents.In, 77);
        Assert.Equal(1, ring.Submit());
        ring.TryGetEntry()->PrepareCancel(77, 78);
        Assert.Equal(1, ring.Submit(waitFor: 2));
        var completions = new IoUringCompletion[4];
        Assert.Equal(2, ring.Reap(completions));
        Assert.Contains(completions, c => c.UserData == 77 && c.Result == -Errno.ECANCELED);
        Assert.Contains(completions, c => c.UserData == 78 && c.Result == 0);

        if (ring.Supports(IoUringOperation.MessageRing))
        {
            using IoUring other = IoUring.Create(4);
            ring.TryGetEntry()->PrepareMessage(other.Raw, 5, 99, 1);
            Assert.Equal(0, Complete(ring, 1));
            Assert.Equal(1, other.Reap(completions));
            Assert.Equal(99UL, completions[0].UserData);
            Assert.Equal(5, completions[0].Result);
        }
    }

    [Fact]
    public void The_ring_path_allocates_nothing()
    {
        if (!Usable())
        {
            return;
        }

        using IoUring ring = IoUring.Create(8, Reactor);
        var completions = new IoUringCompletion[8];
        // What a turn costs shows in every round; what the runtime allocates once for its own sake, as it compiles the turn anew, in one.
        long least = long.MaxValue;
        for (int round = 0; round < 5 && least != 0; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 1000; i++)
            {
                Turn();
            }

            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        Assert.Equal(0, least);

        void Turn()
        {
            ring.TryGetEntry()->PrepareNop(1);
            _ = ring.Submit(1);
            _ = ring.Reap(completions);
        }
    }

    [Fact]
    public void Impossible_sizes_are_refused_with_the_call_named()
    {
        if (!Usable())
        {
            return;
        }

        LinuxException e = Assert.Throws<LinuxException>(() => IoUring.Create(0));
        Assert.Equal(Errno.EINVAL, e.Error);
        Assert.Equal("io_uring_setup", e.Call);
        Assert.Contains("lacks", IoUring.WhyUnavailable((IoUringOperation)250)!, StringComparison.Ordinal);
    }

    private static int Complete(IoUring ring, ulong userData)
    {
        Assert.Equal(1, ring.Submit(waitFor: 1));
        var completions = new IoUringCompletion[2];
        Assert.Equal(1, ring.Reap(completions));
        Assert.Equal(userData, completions[0].UserData);
        return completions[0].Result;
    }
}
