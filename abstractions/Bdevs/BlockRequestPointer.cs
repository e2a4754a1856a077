namespace Vhost.Abstractions;

/// <summary>Refers to a request in the submitter's native memory, so that batches can be spans.</summary>
/// <param name="pointer">The request.</param>
public readonly unsafe struct BlockRequestPointer(BlockRequest* pointer)
{
    /// <summary>The request.</summary>
    public readonly BlockRequest* Pointer = pointer;

    /// <summary>The request, by reference. Valid until it is completed.</summary>
    // SAFETY: the submitter keeps the native memory alive from submission to completion.
    public ref BlockRequest Value => ref *Pointer;
}
