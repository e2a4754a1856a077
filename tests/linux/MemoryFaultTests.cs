using System.Runtime.CompilerServices;

namespace Vhost.Linux.Tests;

/// <summary>SIGBUS in registered ranges.</summary>
public sealed unsafe class MemoryFaultTests
{
    private const int Pages = 64;

    [Fact]
    public void Memory_that_goes_away_reads_as_zeroes_and_is_counted_and_signalled()
    {
        Assert.True(MemoryFaultGuard.TryInstall(out var problem), problem);
        using var file = MemoryFile.Create("shrinks", Pages * MemoryMapping.PageSize);
        using var mapping = MemoryMapping.MapShared(file.Raw, 0, Pages * MemoryMapping.PageSize);
        using var faulted = EventFd.Create();
        using var range = MemoryFaultGuard.Register((nint)mapping.Address, mapping.Length, MemoryMapping.PageSize, faulted);
        new Span<byte>(mapping.Address, (int)mapping.Length).Fill(0xaa);
        Assert.False(range.HasFailed);
        var count = MemoryFaultGuard.FaultCount;
        FileIo.SetLength(file.Raw, 2 * MemoryMapping.PageSize);
        Assert.Equal(0xaa, mapping.Address[0]);
        Assert.False(range.HasFailed);

        // Through a copy in native code, and through managed code.
        var copy = new byte[Pages * (int)MemoryMapping.PageSize];
        new Span<byte>(mapping.Address, copy.Length).CopyTo(copy);
        Assert.Equal(0xaa, copy[(2 * (int)MemoryMapping.PageSize) - 1]);
        Assert.Equal(0, copy[2 * (int)MemoryMapping.PageSize]);
        Write(mapping.Address + mapping.Length - 1, 7);
        Assert.Equal(7, mapping.Address[mapping.Length - 1]);
        Assert.True(range.HasFailed);
        Assert.True(MemoryFaultGuard.FaultCount > count);
        Assert.True(faulted.Drain() > 0);
        Assert.True(MemoryFaultGuard.HasFault((nint)mapping.Address, 1));
        Assert.False(MemoryFaultGuard.HasFault((nint)mapping.Address + (nint)mapping.Length, 1));
        range.Dispose();
        Assert.True(range.HasFailed);
        Assert.False(MemoryFaultGuard.HasFault((nint)mapping.Address, 1));
    }

    [Fact]
    public void Many_faults_in_one_range_replace_all_of_it_so_that_mappings_do_not_run_out()
    {
        using var file = MemoryFile.Create("shrinks", Pages * MemoryMapping.PageSize);
        using var mapping = MemoryMapping.MapShared(file.Raw, 0, Pages * MemoryMapping.PageSize);
        using var range = MemoryFaultGuard.Register((nint)mapping.Address, mapping.Length, MemoryMapping.PageSize, null);
        var count = MemoryFaultGuard.FaultCount;
        FileIo.SetLength(file.Raw, 0);
        for (var page = 0; page < Pages; page += 2)
        {
            Assert.Equal(0, Read(mapping.Address + ((nuint)page * MemoryMapping.PageSize)));
        }

        Assert.True(MemoryFaultGuard.FaultCount - count <= 17);
    }

    [Fact]
    public void Null_references_stay_exceptions()
    {
        Assert.True(MemoryFaultGuard.TryInstall(out _));
        for (var i = 0; i < 3; i++)
        {
            Assert.Throws<NullReferenceException>(() => Length(null!));
        }
    }

    [Fact]
    public void Ranges_are_registered_by_many_threads_and_their_places_are_used_again() =>
        Parallel.For(0, 4, _ =>
        {
            for (var i = 0; i < 200; i++)
            {
                using var mapping = MemoryMapping.MapAnonymous(MemoryMapping.PageSize);
                using var range = MemoryFaultGuard.Register((nint)mapping.Address, mapping.Length, MemoryMapping.PageSize, null);
                Assert.False(range.HasFailed);
                Assert.False(MemoryFaultGuard.HasFault((nint)mapping.Address, 1));
            }
        });

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static byte Read(byte* address) => Volatile.Read(ref *address);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Write(byte* address, byte value) => Volatile.Write(ref *address, value);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Length(string text) => text.Length;
}
