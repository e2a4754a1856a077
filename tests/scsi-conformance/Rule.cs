namespace Vhost.Scsi.Conformance;

/// <summary>What a standard says, and commands that show whether a disk does so.</summary>
/// <param name="Section">The standard and its section.</param>
/// <param name="Text">What it says.</param>
/// <param name="Steps">The commands, in their order. They leave the disk's settings as they were.</param>
public sealed record Rule(string Section, string Text, params Step[] Steps);
