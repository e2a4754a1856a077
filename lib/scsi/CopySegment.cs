namespace Vhost.Scsi;

/// <summary>A segment descriptor: block device to block device (SPC-4, section 6.4.6.4).</summary>
/// <param name="Position">Where it begins in the parameter list.</param>
/// <param name="Source">The source's CSCD descriptor.</param>
/// <param name="Destination">The destination's.</param>
/// <param name="CountsDestinationBlocks">DC: the count is one of destination blocks; else of source blocks.</param>
/// <param name="BlockCount">The count.</param>
/// <param name="SourceLba">The first block at the source.</param>
/// <param name="DestinationLba">The first block at the destination.</param>
internal readonly record struct CopySegment(
    int Position,
    int Source,
    int Destination,
    bool CountsDestinationBlocks,
    ushort BlockCount,
    ulong SourceLba,
    ulong DestinationLba);
