using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>The parameter list of EXTENDED COPY (LID1) (SPC-4, sections 5.17.7.1 and 6.5), and its limits. All of it is checked before the first block is read.</summary>
internal static unsafe class CopyParameters
{
    public const int MaxDescriptors = 16;
    public const int MaxSegments = 64;
    public const int HeaderLengthBytes = 16;
    public const int DescriptorLengthBytes = 32;
    public const int SegmentLengthBytes = 28;
    public const int MaxDescriptorListBytes = (MaxDescriptors * DescriptorLengthBytes) + (MaxSegments * SegmentLengthBytes);

    /// <summary>The most that one segment copies: what bounds a command, with the number of segments.</summary>
    public const uint MaxSegmentBytes = 64 * 1024 * 1024;

    /// <summary>The descriptor types: identification CSCD descriptor, and block device to block device.</summary>
    public const byte IdentificationDescriptor = 0xE4;
    public const byte BlockToBlock = 0x02;

    /// <summary>The place of DISK BLOCK LENGTH in a CSCD descriptor.</summary>
    public const int BlockSizeField = 29;

    private const int ReservedListIdUsage = 1;
    private const int NoListId = 3;

    /// <summary>Reads a list; if it is not valid, the task is done.</summary>
    /// <param name="list">The list, at least a header.</param>
    /// <param name="target">The target that the command came to.</param>
    /// <param name="scope">The initiator's other targets.</param>
    /// <param name="task">The task.</param>
    /// <param name="listId">The list identifier; null if there is none.</param>
    /// <param name="descriptors">The CSCD descriptors.</param>
    /// <param name="segments">The segment descriptors.</param>
    public static bool TryParse(
        ReadOnlySpan<byte> list,
        ScsiTarget target,
        ICopyScope? scope,
        ScsiTask* task,
        out byte? listId,
        out CopyDescriptor[] descriptors,
        out CopySegment[] segments)
    {
        descriptors = [];
        segments = [];
        listId = list[0];
        var usage = (list[1] >> 3) & 0x03;
        int descriptorsLength = BinaryPrimitives.ReadUInt16BigEndian(list[2..]);
        var segmentsLength = BinaryPrimitives.ReadUInt32BigEndian(list[8..]);
        if ((list[1] & 0xC0) != 0)
        {
            TaskResult.InvalidParameter(task, 1, 7);
        }
        else if (usage == ReservedListIdUsage)
        {
            TaskResult.InvalidParameter(task, 1, 4);
        }
        else if (usage == NoListId && list[0] != 0)
        {
            TaskResult.InvalidParameter(task, 0);
        }
        else if (list[4..8].IndexOfAnyExcept((byte)0) >= 0)
        {
            TaskResult.InvalidParameter(task, 4);
        }
        else if (BinaryPrimitives.ReadUInt32BigEndian(list[12..]) != 0)
        {
            TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.InlineDataLengthExceeded, null, SenseKeySpecific.ParameterList(12));
        }
        else if (descriptorsLength % DescriptorLengthBytes != 0)
        {
            TaskResult.InvalidParameter(task, 2);
        }
        else if (descriptorsLength > MaxDescriptors * DescriptorLengthBytes)
        {
            TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.TooManyTargetDescriptors, null, SenseKeySpecific.ParameterList(2));
        }
        else if (segmentsLength > MaxSegments * SegmentLengthBytes)
        {
            TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.TooManySegmentDescriptors, null, SenseKeySpecific.ParameterList(8));
        }
        else if (list.Length != HeaderLengthBytes + descriptorsLength + (int)segmentsLength)
        {
            TaskResult.ParameterListLengthError(task);
        }
        else
        {
            listId = usage == NoListId ? null : listId;
            descriptors = new CopyDescriptor[descriptorsLength / DescriptorLengthBytes];
            return TryParseDescriptors(list, target, scope, task, descriptors)
                && TryParseSegments(list, HeaderLengthBytes + descriptorsLength, descriptors.Length, task, out segments);
        }

        return false;
    }

    private static bool TryParseDescriptors(ReadOnlySpan<byte> list, ScsiTarget target, ICopyScope? scope, ScsiTask* task, CopyDescriptor[] descriptors)
    {
        for (var i = 0; i < descriptors.Length; i++)
        {
            var position = HeaderLengthBytes + (i * DescriptorLengthBytes);
            var descriptor = list.Slice(position, DescriptorLengthBytes);
            if (descriptor[0] != IdentificationDescriptor)
            {
                TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.UnsupportedTargetDescriptorType, null, SenseKeySpecific.ParameterList(position));
                return false;
            }

            // LU ID TYPE, NUL, and a device type other than direct access.
            if (descriptor[1] != 0)
            {
                TaskResult.InvalidParameter(task, position + 1);
                return false;
            }

            // PAD is about residual data, which there never is.
            if ((descriptor[28] & 0xFB) != 0)
            {
                TaskResult.InvalidParameter(task, position + 28);
                return false;
            }

            if (descriptor[7] > 20)
            {
                TaskResult.InvalidParameter(task, position + 7);
                return false;
            }

            var blockSize = BinaryPrimitives.ReadUInt32BigEndian(descriptor[28..]) & 0xFFFFFF;
            var nexus = Find(descriptor.Slice(4, 4 + descriptor[7]), target, scope, out var naa);
            descriptors[i] = new CopyDescriptor(position, nexus, naa, blockSize);
        }

        return true;
    }

    private static bool TryParseSegments(ReadOnlySpan<byte> list, int position, int descriptorCount, ScsiTask* task, out CopySegment[] segments)
    {
        var found = new List<CopySegment>();
        segments = [];
        while (position < list.Length)
        {
            var segment = list[position..];
            if (segment[0] != BlockToBlock)
            {
                TaskResult.Check(task, SenseKey.IllegalRequest, AdditionalSense.UnsupportedSegmentDescriptorType, null, SenseKeySpecific.ParameterList(position));
                return false;
            }

            if (segment.Length < SegmentLengthBytes || BinaryPrimitives.ReadUInt16BigEndian(segment[2..]) != SegmentLengthBytes - 4)
            {
                TaskResult.InvalidParameter(task, position + 2);
                return false;
            }

            var wrong = (segment[1] & 0xFC) != 0 ? 1
                : BinaryPrimitives.ReadUInt16BigEndian(segment[4..]) >= descriptorCount ? 4
                : BinaryPrimitives.ReadUInt16BigEndian(segment[6..]) >= descriptorCount ? 6
                : segment[8..10].IndexOfAnyExcept((byte)0) >= 0 ? 8
                : 0;
            if (wrong != 0)
            {
                TaskResult.InvalidParameter(task, position + wrong);
                return false;
            }

            found.Add(new CopySegment(
                position,
                BinaryPrimitives.ReadUInt16BigEndian(segment[4..]),
                BinaryPrimitives.ReadUInt16BigEndian(segment[6..]),
                (segment[1] & 0x02) != 0,
                BinaryPrimitives.ReadUInt16BigEndian(segment[10..]),
                BinaryPrimitives.ReadUInt64BigEndian(segment[12..]),
                BinaryPrimitives.ReadUInt64BigEndian(segment[20..])));
            position += SegmentLengthBytes;
        }

        segments = [.. found];
        return true;
    }

    // The unit that has this designator, be it at the same target or at another one of the initiator.
    private static ItlNexus? Find(ReadOnlySpan<byte> designator, ScsiTarget target, ICopyScope? scope, out ulong naa)
    {
        foreach (var candidate in scope?.Targets ?? [target])
        {
            foreach (var nexus in candidate.Nexuses)
            {
                if (nexus?.Unit.State is { } state && Designators.IsOfUnit(designator, state.Identity))
                {
                    naa = state.Identity.Naa;
                    return nexus;
                }
            }
        }

        naa = 0;
        return null;
    }
}
