using Vhost.Pci;

namespace Vhost.Plugins.Nvme.Protocol;

/// <summary>The CAP register (NVM Express Base 2.0, figure 36), checked.</summary>
/// <param name="MaxQueueEntries">Greatest number of entries of an I/O queue, at least 2.</param>
/// <param name="DoorbellStrideBytes">Distance between doorbells.</param>
/// <param name="ReadyTimeout">How long a change of CSTS.RDY may take.</param>
internal readonly record struct NvmeCapabilities(int MaxQueueEntries, ulong DoorbellStrideBytes, TimeSpan ReadyTimeout)
{
    /// <summary>Decodes and checks.</summary>
    /// <exception cref="PciException">The controller cannot be driven; says why.</exception>
    public static NvmeCapabilities Decode(ulong value, string address)
    {
        if (value == ulong.MaxValue)
        {
            throw new PciException($"{address}: the NVMe controller does not answer (CAP reads as all ones); is the device powered and memory space enabled?");
        }

        if ((value & (1UL << 37)) == 0)
        {
            throw new PciException($"{address}: the controller does not offer the NVM command set (CAP.CSS); it is not a block device");
        }

        var minimumPageShift = 12 + (int)((value >> 48) & 0xf);
        if (minimumPageShift > 12)
        {
            throw new PciException($"{address}: the controller needs pages of {1UL << minimumPageShift} bytes (CAP.MPSMIN); only 4096 is supported");
        }

        var maxEntries = (int)(value & 0xffff) + 1;
        if (maxEntries < 2)
        {
            throw new PciException($"{address}: the controller offers queues of {maxEntries} entry (CAP.MQES); at least 2 are needed");
        }

        // A timeout of 0 is not allowed by the specification; a second is a safe reading of it.
        var halfSeconds = Math.Max((int)((value >> 24) & 0xff), 2);
        return new(maxEntries, 4UL << (int)((value >> 32) & 0xf), TimeSpan.FromMilliseconds(500 * halfSeconds));
    }
}
