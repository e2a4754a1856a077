using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>
/// One request that a driver made available: a slot in native memory that belongs to a <see cref="Virtqueue"/>. The handler gets it in a
/// batch, owns it until <see cref="Virtqueue.Complete"/>, and may change the segments in place (to cut off a header, for instance).
/// Touched on the queue's reactor only.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct VirtioRequest
{
    /// <summary>Segments that a slot holds itself; a request with more gets them from a pool.</summary>
    internal const int InlineSegments = 8;

    /// <summary>Where the private area begins, from the start of the slot.</summary>
    internal const int PrivateOffset = 96 + (InlineSegments * 16);

    /// <summary>What the device may read, in order. An invalid request may have pieces with address 0.</summary>
    public IoSegment* Readable;

    /// <summary>What the device may write, in order. An invalid request may have pieces with address 0.</summary>
    public IoSegment* Writable;

    /// <summary>Number of pieces at <see cref="Readable"/>.</summary>
    public int ReadableCount;

    /// <summary>Number of pieces at <see cref="Writable"/>.</summary>
    public int WritableCount;

    /// <summary>Sum of the lengths at <see cref="Readable"/>, as the driver made it available.</summary>
    public ulong ReadableBytes;

    /// <summary>Sum of the lengths at <see cref="Writable"/>, as the driver made it available.</summary>
    public ulong WritableBytes;

    /// <summary>Handle of the owning <see cref="Virtqueue"/>.</summary>
    internal nint QueueHandle;

    /// <summary>Storage of segments beyond <see cref="InlineSegments"/>, or null.</summary>
    internal IoSegment* Overflow;

    /// <summary>Which memory map the segments lie in.</summary>
    internal uint MemoryEpoch;

    /// <summary>Result for the used ring.</summary>
    internal uint WrittenBytes;

    /// <summary>Split: the head; packed: the buffer id.</summary>
    internal ushort Id;

    /// <summary>Packed: how many ring entries the chain takes.</summary>
    internal ushort RingEntryCount;

    /// <summary>Packed: the entry in the in-flight area.</summary>
    internal ushort TrackingIndex;

    /// <summary>Size class of <see cref="Overflow"/>.</summary>
    internal byte OverflowClass;

    /// <summary>Where the slot is in its life.</summary>
    internal VirtioRequestState State;

    /// <summary>Index of the slot in its queue.</summary>
    internal int SlotIndex;

    /// <summary>Why the request is invalid, or <see cref="ChainFault.None"/>.</summary>
    internal ChainFault InvalidReason;

    /// <summary>Set while the handler is given the request a second time.</summary>
    internal bool IsRepeat;

    /// <summary>Why the request is invalid, or <see cref="ChainFault.None"/>.</summary>
    public readonly ChainFault Fault => InvalidReason;

    /// <summary>Whether the handler has the request.</summary>
    public readonly bool IsUnderWay => State == VirtioRequestState.UnderWay;

    /// <summary>
    /// Whether a device had the request before, whose process or session ended before it reported the request as done: it may have been carried out, as a whole or in
    /// part. Valid within <see cref="IVirtqueueHandler.Handle"/> only.
    /// </summary>
    public readonly bool IsResubmitted => IsRepeat;

    /// <summary>The slot's place in its queue, from 0 to <see cref="Virtqueue.SlotCount"/> - 1. It is unique among the requests under way.</summary>
    public readonly int Slot => SlotIndex;

    /// <summary>
    /// The handler's private area of the size that it declared, aligned to 16 bytes. It is zeroed once, when the queue is started;
    /// what an earlier request in the same slot left there is still there.
    /// </summary>
    /// <param name="request">The request.</param>
    // SAFETY: every slot is allocated with its private area right behind the header.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void* PrivateOf(VirtioRequest* request) => (byte*)request + PrivateOffset;

    /// <summary>The request whose private area this is: from a <see cref="BlockRequest"/> at the area's start back to its request.</summary>
    /// <param name="privateArea">What <see cref="PrivateOf"/> gave.</param>
    // SAFETY: the inverse of PrivateOf.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static VirtioRequest* FromPrivate(void* privateArea) => (VirtioRequest*)((byte*)privateArea - PrivateOffset);
}
