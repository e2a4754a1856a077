namespace Vhost.Abstractions;

/// <summary>A piece of a guest's memory that is mapped into this process.</summary>
/// <param name="GuestAddress">Guest-physical address of the first byte.</param>
/// <param name="HostAddress">Address of the first byte in this process.</param>
/// <param name="LengthBytes">Length; never 0; <c>GuestAddress + LengthBytes</c> does not wrap.</param>
/// <param name="IsWritable">Whether this process may write to it.</param>
/// <param name="Backing">What the memory is made of.</param>
public readonly record struct MemoryRegion(ulong GuestAddress, nint HostAddress, ulong LengthBytes, bool IsWritable, MemoryBacking Backing);
