namespace Vhost.Abstractions;

/// <summary>A piece of memory that the front-end shares with this process outside guest memory: an in-flight area or a dirty log.</summary>
/// <param name="Address">Address of the first byte in this process; 0 for none.</param>
/// <param name="LengthBytes">Length; 0 for none.</param>
public readonly record struct SharedArea(nint Address, ulong LengthBytes)
{
    /// <summary>Whether there is none.</summary>
    public bool IsNone => Address == 0;
}
