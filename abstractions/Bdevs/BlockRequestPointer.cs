namespace Vhost.Abstractions;

/// <summary>
/// Refers to a request in the submitter's native memory, so that batches can be spans. What a bdev is given says also which submission of the request it is: a bdev that
/// keeps this value and completes with it lets the host tell a second completion from the completion of the next submission. One that is made anew from a pointer says nothing about that.
/// </summary>
public readonly unsafe struct BlockRequestPointer
{
    // User-space addresses have 47 bits; the upper ones carry the generation.
    private const int GenerationShift = 48;
    private const ulong AddressMask = (1UL << GenerationShift) - 1;

    private readonly ulong _value;

    /// <summary>Refers to a request without saying which submission of it is meant.</summary>
    /// <param name="pointer">The request.</param>
    public BlockRequestPointer(BlockRequest* pointer) => _value = (ulong)pointer;

    /// <summary>Refers to a submission of a request. For the host.</summary>
    /// <param name="pointer">The request.</param>
    /// <param name="generation">The submission; 0 for any.</param>
    public BlockRequestPointer(BlockRequest* pointer, ushort generation) => _value = (ulong)pointer | ((ulong)generation << GenerationShift);

    /// <summary>The request.</summary>
    public BlockRequest* Pointer => (BlockRequest*)(_value & AddressMask);

    /// <summary>The submission that is meant; 0 for any.</summary>
    public ushort Generation => (ushort)(_value >> GenerationShift);

    /// <summary>The request, by reference. Valid until it is completed.</summary>
    // SAFETY: the submitter keeps the native memory alive from submission to completion.
    public ref BlockRequest Value => ref *Pointer;
}
