namespace Vhost.Scsi;

/// <summary>A CSCD descriptor: a copy source or destination (SPC-4, section 6.4.5).</summary>
/// <param name="Position">Where it begins in the parameter list.</param>
/// <param name="Nexus">The unit as the initiator sees it; null if there is none with that name.</param>
/// <param name="Naa">The unit's identifier: what the initiator named is this disk, not whatever comes to its place.</param>
/// <param name="BlockSizeBytes">The block size that the initiator knows.</param>
internal readonly record struct CopyDescriptor(int Position, ItlNexus? Nexus, ulong Naa, uint BlockSizeBytes);
