using System.Numerics;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>Checks what a transport asks a session to start.</summary>
internal static class VirtqueueSetupCheck
{
    /// <summary>Throws if the set-up is impossible.</summary>
    /// <param name="setup">The set-up.</param>
    /// <param name="features">The negotiated features.</param>
    /// <param name="maxQueueCount">How many queues the device has.</param>
    /// <param name="maxQueueSize">The device's greatest queue size.</param>
    /// <exception cref="ArgumentException">It is; the message says why.</exception>
    public static void Check(VirtqueueSetup setup, ulong features, int maxQueueCount, int maxQueueSize)
    {
        var index = setup.QueueIndex;
        if ((uint)index >= (uint)maxQueueCount)
        {
            throw new ArgumentException($"there is no queue {index}: the device has {maxQueueCount}", nameof(setup));
        }

        if (setup.Size < 1 || setup.Size > maxQueueSize)
        {
            throw new ArgumentException($"queue {index} has the impossible size {setup.Size}: 1 to {maxQueueSize} are possible", nameof(setup));
        }

        var isPacked = setup.Format == VirtqueueFormat.Packed;
        if (isPacked != ((features & VirtioFeatures.RingPacked) != 0))
        {
            throw new ArgumentException($"queue {index} is {setup.Format}, which is not what was negotiated", nameof(setup));
        }

        if (!isPacked && !BitOperations.IsPow2(setup.Size))
        {
            throw new ArgumentException($"queue {index} has the size {setup.Size}, which is no power of two", nameof(setup));
        }

        CheckAddress(index, setup.Addresses.Descriptors, RingLayout.DescriptorAlignmentBytes, "descriptors");
        CheckAddress(index, setup.Addresses.Driver, isPacked ? RingLayout.UsedAlignmentBytes : RingLayout.AvailableAlignmentBytes, "driver area");
        CheckAddress(index, setup.Addresses.Device, RingLayout.UsedAlignmentBytes, "device area");
        if (isPacked && ((setup.State.NextAvailable & 0x7fff) >= setup.Size || (setup.State.NextUsed & 0x7fff) >= setup.Size))
        {
            throw new ArgumentException($"queue {index} is to continue at a position beyond its size {setup.Size}", nameof(setup));
        }

        if (!isPacked && (ushort)(setup.State.NextAvailable - setup.State.NextUsed) > setup.Size)
        {
            throw new ArgumentException(
                $"queue {index} is to continue at available index {setup.State.NextAvailable} and used index {setup.State.NextUsed}, which are further apart than its size {setup.Size}",
                nameof(setup));
        }

        var inFlightBytes = InFlightArea.RequiredBytes(setup.Format, setup.Size);
        if (!setup.InFlight.IsNone && (setup.InFlight.LengthBytes < inFlightBytes || setup.InFlight.Address % 8 != 0))
        {
            throw new ArgumentException(
                $"the in-flight area of queue {index} has {setup.InFlight.LengthBytes} bytes at 0x{setup.InFlight.Address:x}, not {inFlightBytes} at a multiple of 8",
                nameof(setup));
        }

        if (!setup.DirtyLog.IsNone && setup.DirtyLog.Address % 4 != 0)
        {
            throw new ArgumentException($"the dirty log lies at 0x{setup.DirtyLog.Address:x}, which is not a multiple of 4", nameof(setup));
        }
    }

    private static void CheckAddress(int index, nint address, int alignmentBytes, string what)
    {
        if (address == 0 || address % alignmentBytes != 0)
        {
            throw new ArgumentException($"the {what} of queue {index} lie at 0x{address:x}, which is not a multiple of {alignmentBytes}", "setup");
        }
    }
}
