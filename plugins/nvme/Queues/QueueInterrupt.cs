using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>
/// How a reactor is woken by its queue: an MSI-X vector of its own; or one line for all queues, which the controller's thread masks
/// and passes on and which <see cref="Arm"/> opens again; or nothing at all, and the queue is polled.
/// </summary>
/// <param name="fileDescriptor">The eventfd to sleep on, or -1.</param>
/// <param name="vector">The completion queue's interrupt vector.</param>
/// <param name="maskedBar">For a shared line: the BAR whose mask register opens it; else null.</param>
internal sealed class QueueInterrupt(int fileDescriptor, int vector, PciBar? maskedBar)
{
    /// <summary>The eventfd to sleep on, or -1.</summary>
    public int FileDescriptor { get; } = fileDescriptor;

    /// <summary>The completion queue's interrupt vector.</summary>
    public int Vector { get; } = vector;

    /// <summary>Lets the next completion interrupt.</summary>
    public void Arm() => maskedBar?.Write32(NvmeRegister.InterruptMaskClear, 1);
}
