using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>
/// How a completion queue wakes its reactor: by an MSI-X vector of its own; or by one line for all queues, which the controller's thread masks
/// and passes on and which <see cref="Arm"/> opens again; or not at all, and the queue is polled.
/// </summary>
/// <param name="isEnabled">Whether it interrupts.</param>
/// <param name="vector">The completion queue's interrupt vector.</param>
/// <param name="maskedBar">For a shared line: the BAR whose mask register opens it; else null.</param>
internal sealed class QueueInterrupt(bool isEnabled, int vector, PciBar? maskedBar)
{
    /// <summary>Whether it interrupts.</summary>
    public bool IsEnabled { get; } = isEnabled;

    /// <summary>The completion queue's interrupt vector.</summary>
    public int Vector { get; } = vector;

    /// <summary>Lets the next completion interrupt.</summary>
    public void Arm() => maskedBar?.Write32(NvmeRegister.InterruptMaskClear, 1);
}
