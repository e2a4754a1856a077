using System.Runtime.Intrinsics;

namespace Vhost.Scsi;

/// <summary>One command: where it is known by, what its CDB may hold, and what is checked before it runs.</summary>
internal sealed class CommandDescriptor
{
    private readonly byte[] _usage;

    public CommandDescriptor(CommandKind kind, string usage, CommandTraits traits, int serviceAction = -1)
    {
        Kind = kind;
        Traits = traits;
        ServiceAction = serviceAction;
        _usage = Convert.FromHexString(usage.Replace(" ", string.Empty, StringComparison.Ordinal));
        Span<byte> forbidden = stackalloc byte[16];
        forbidden.Clear();
        for (var i = 1; i < _usage.Length; i++)
        {
            forbidden[i] = (byte)~_usage[i];
        }

        if (serviceAction >= 0)
        {
            // The usage map holds the service action itself (SPC-4, section 6.34); as a field it has five bits.
            forbidden[1] &= 0xE0;
        }

        ForbiddenBits = Vector128.Create<byte>(forbidden);
        Class = kind switch
        {
            CommandKind.Read when _usage.Length > 6 => CommandClass.Read,
            CommandKind.Write when _usage.Length > 6 => CommandClass.Write,
            CommandKind.WriteAndVerify => CommandClass.Write,
            CommandKind.Unmap => CommandClass.Write | CommandClass.WithoutBlocks,
            _ => CommandClass.None,
        };
    }

    public CommandKind Kind { get; }

    public CommandTraits Traits { get; }

    /// <summary>What it counts as, less FUA.</summary>
    public CommandClass Class { get; }

    public byte OperationCode => _usage[0];

    /// <summary>The service action in byte 1, or -1.</summary>
    public int ServiceAction { get; }

    public int LengthBytes => _usage.Length;

    /// <summary>The CDB usage data (SPC-4, section 6.34.3): 1 for each bit that the device server looks at.</summary>
    public ReadOnlySpan<byte> Usage => _usage;

    /// <summary>The bits that must be zero: reserved ones, and fields for what the unit does not have (protection, anchors, NACA).</summary>
    public Vector128<byte> ForbiddenBits { get; }
}
