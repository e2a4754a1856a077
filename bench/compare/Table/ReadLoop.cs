using System.Diagnostics;
using Vhost.Linux;

namespace Vhost.Bench;

/// <summary>The ceiling of a disk in a file: a loop that does nothing but read blocks of the file at random, by one system call each. One thread.</summary>
internal sealed unsafe class ReadLoop : IDisposable
{
    private const int BlockBytes = 4096;
    private const int BufferCount = 32;

    private readonly FileDescriptor _file;
    private readonly MemoryMapping _buffers;
    private readonly ulong _places;
    private ulong _random = 0x2545_f491_4f6c_dd1d;

    /// <summary>Opens the file.</summary>
    /// <param name="path">The file.</param>
    public ReadLoop(string path)
    {
        _file = FileIo.Open(path, OpenMode.ReadOnly);
        _buffers = MemoryMapping.MapAnonymous(BufferCount * BlockBytes, populate: true);
        _places = FileStatus.Of(_file.Raw).Size / BlockBytes;
    }

    /// <summary>Reads.</summary>
    /// <param name="seconds">How long.</param>
    /// <returns>Reads a second.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public double Run(double seconds)
    {
        var count = 0L;
        var begin = Stopwatch.GetTimestamp();
        var end = begin + (long)(seconds * Stopwatch.Frequency);
        while (Stopwatch.GetTimestamp() < end)
        {
            for (var i = 0; i < BufferCount; i++, count++)
            {
                _random ^= _random >> 12;
                _random ^= _random << 25;
                _random ^= _random >> 27;
                var place = Math.BigMul(_random * 0x2545_f491_4f6c_dd1d, _places, out _);

                // SAFETY: the buffers are as many and as long as the loop uses.
                var result = FileIo.TryRead(_file.Raw, _buffers.Address + (i * BlockBytes), BlockBytes, place * BlockBytes);
                if (result != BlockBytes)
                {
                    throw new LinuxException("pread", (int)-result, "the read loop");
                }
            }
        }

        return count / Stopwatch.GetElapsedTime(begin).TotalSeconds;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _file.Dispose();
        _buffers.Dispose();
    }
}
