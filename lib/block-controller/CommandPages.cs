using Vhost.Pci;

namespace Vhost.BlockController;

/// <summary>A page of memory for each command of a queue, which the controller reaches. One thread at a time.</summary>
public sealed unsafe class CommandPages : IDisposable
{
    /// <summary>Bytes of a page.</summary>
    public const int PageBytes = 4096;

    // Pieces of at most a huge page, which is all that is contiguous with physical addresses.
    private const int MaxPieceBytes = 2 * 1024 * 1024;
    private readonly DmaMemory?[] _pieces;
    private readonly int _pagesPerPiece;

    /// <summary>Allocates the pages.</summary>
    /// <param name="dma">The device's domain.</param>
    /// <param name="count">How many, at least 1.</param>
    /// <exception cref="PciException">There is no memory for them.</exception>
    public CommandPages(IDmaDomain dma, int count)
    {
        ArgumentNullException.ThrowIfNull(dma);
        _pagesPerPiece = Math.Min(count, MaxPieceBytes / PageBytes);
        _pieces = new DmaMemory?[(count + _pagesPerPiece - 1) / _pagesPerPiece];
        try
        {
            for (var i = 0; i < _pieces.Length; i++)
            {
                _pieces[i] = dma.Allocate((nuint)_pagesPerPiece * PageBytes, isContiguous: true);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>A command's page.</summary>
    /// <param name="slot">Which command.</param>
    /// <param name="iova">Its address for the controller.</param>
    /// <returns>Its address in this process.</returns>
    public byte* Page(int slot, out ulong iova)
    {
        var (piece, index) = Math.DivRem(slot, _pagesPerPiece);
        var memory = _pieces[piece]!;
        iova = memory.Iova + ((ulong)index * PageBytes);
        return (byte*)memory.Address + ((nint)index * PageBytes);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var piece in _pieces)
        {
            piece?.Dispose();
        }
    }
}
