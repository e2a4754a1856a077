namespace Vhost.Abstractions;

/// <summary>A set of <see cref="BlockOperation"/>: bit n stands for the operation with value n.</summary>
[Flags]
public enum BlockOperations : ushort
{
    /// <summary>No operation.</summary>
    None = 0,

    /// <summary><see cref="BlockOperation.Read"/>.</summary>
    Read = 1 << 0,

    /// <summary><see cref="BlockOperation.Write"/>.</summary>
    Write = 1 << 1,

    /// <summary><see cref="BlockOperation.Flush"/>.</summary>
    Flush = 1 << 2,

    /// <summary><see cref="BlockOperation.Discard"/>.</summary>
    Discard = 1 << 3,

    /// <summary><see cref="BlockOperation.WriteZeroes"/>.</summary>
    WriteZeroes = 1 << 4,

    /// <summary><see cref="BlockOperation.Compare"/>.</summary>
    Compare = 1 << 5,

    /// <summary><see cref="BlockOperation.CompareAndWrite"/>.</summary>
    CompareAndWrite = 1 << 6,
}
