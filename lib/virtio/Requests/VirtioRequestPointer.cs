namespace Vhost.Virtio;

/// <summary>Refers to a request, so that batches can be spans.</summary>
/// <param name="pointer">The request.</param>
public readonly unsafe struct VirtioRequestPointer(VirtioRequest* pointer)
{
    /// <summary>The request.</summary>
    public readonly VirtioRequest* Pointer = pointer;
}
