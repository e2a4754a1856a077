namespace Vhost.Abstractions;

/// <summary>
/// The simple level of a bdev: override read, write and flush. The methods run off the reactors, several at a time (at most
/// <see cref="MaxConcurrency"/>), on buffers of the host that hold whole blocks; guest memory is never seen. The host has checked range
/// and write protection. An exception fails that request with <see cref="BlockStatus.IoError"/> (<see cref="NotSupportedException"/>: with
/// <see cref="BlockStatus.Unsupported"/>) and is logged. A method that hangs hurts nobody but its own bdev.
/// </summary>
/// <param name="name">The bdev's name.</param>
public abstract class SimpleBdev(string name) : IBdev
{
    /// <inheritdoc/>
    public string Name { get; } = name;

    /// <inheritdoc/>
    public abstract BdevInfo Info { get; }

    /// <summary>How many requests may run at a time, at least 1.</summary>
    public virtual int MaxConcurrency => 16;

    /// <summary>Fills the buffer.</summary>
    /// <param name="offsetBytes">Where to read: a multiple of the block size.</param>
    /// <param name="buffer">What to fill, wholly: a multiple of the block size long.</param>
    /// <param name="cancellationToken">Cancelled when nobody awaits the result any more.</param>
    public abstract ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken);

    /// <summary>Writes the buffer.</summary>
    /// <param name="offsetBytes">Where to write: a multiple of the block size.</param>
    /// <param name="buffer">What to write, wholly.</param>
    /// <param name="cancellationToken">Cancelled when nobody awaits the result any more.</param>
    public virtual ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken) =>
        throw new NotSupportedException($"bdev {Name} cannot be written");

    /// <summary>Makes completed writes durable. By default there is nothing to do: right for a bdev without <see cref="BdevInfo.HasVolatileWriteCache"/>.</summary>
    /// <param name="cancellationToken">Cancelled when nobody awaits the result any more.</param>
    public virtual ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>Releases a range. Called only if <see cref="BdevInfo.Operations"/> says so.</summary>
    /// <param name="offsetBytes">Where: a multiple of the block size.</param>
    /// <param name="lengthBytes">How much.</param>
    /// <param name="cancellationToken">Cancelled when nobody awaits the result any more.</param>
    public virtual ValueTask DiscardAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken) =>
        throw new NotSupportedException($"bdev {Name} cannot discard");
}
