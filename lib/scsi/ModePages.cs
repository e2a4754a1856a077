using System.Buffers.Binary;

namespace Vhost.Scsi;

/// <summary>The mode pages (SPC-4, section 7.5; SBC-3, section 6.5), in current, changeable and default values.</summary>
internal static class ModePages
{
    public const byte All = 0x3F;
    public const byte Caching = 0x08;
    public const byte Control = 0x0A;
    private const byte ErrorRecovery = 0x01;
    private const byte InformationalExceptions = 0x1C;

    private const byte WriteCacheEnable = 0x04;
    private const byte DescriptorSense = 0x04;
    private const byte SoftwareWriteProtect = 0x08;

    /// <summary>The page codes in ascending order.</summary>
    public static ReadOnlySpan<byte> Codes => [ErrorRecovery, Caching, Control, InformationalExceptions];

    /// <summary>Writes a page.</summary>
    /// <param name="destination">At least 20 bytes.</param>
    /// <param name="page">The page code.</param>
    /// <param name="values">Which values.</param>
    /// <param name="state">The unit.</param>
    /// <returns>The page's length; 0 if there is no such page.</returns>
    public static int Write(Span<byte> destination, byte page, ModePageValues values, LogicalUnitState state)
    {
        var length = page switch
        {
            Caching => 20,
            ErrorRecovery or Control or InformationalExceptions => 12,
            _ => 0,
        };
        if (length == 0)
        {
            return 0;
        }

        var data = destination[..length];
        data.Clear();
        data[0] = page;
        data[1] = (byte)(length - 2);
        switch (page)
        {
            case ErrorRecovery when values != ModePageValues.Changeable:
                data[2] = 0xC0; // AWRE, ARRE
                break;
            case Caching:
                data[2] = HasWriteCacheBit(values, state) ? WriteCacheEnable : (byte)0;
                break;
            case Control:
                WriteControl(data, values, state.Mode);
                break;
            case InformationalExceptions when values != ModePageValues.Changeable:
                data[2] = 0x08; // DEXCPT
                break;
        }

        return length;
    }

    /// <summary>Takes a valid page's changeable values.</summary>
    public static ModeParameters Apply(ReadOnlySpan<byte> page, ModeParameters mode) => page[0] switch
    {
        Caching => mode with { IsWriteCacheDisabled = (page[2] & WriteCacheEnable) == 0 },
        Control => mode with
        {
            UsesDescriptorSense = (page[2] & DescriptorSense) != 0,
            IsSoftwareWriteProtected = (page[4] & SoftwareWriteProtect) != 0,
        },
        _ => mode,
    };

    private static bool HasWriteCacheBit(ModePageValues values, LogicalUnitState state) => values switch
    {
        ModePageValues.Current => state.IsWriteCacheEnabled,

        // Changeable and default values: where there is a volatile cache, it may be disabled, and is on by default.
        _ => state.Info.HasVolatileWriteCache,
    };

    private static void WriteControl(Span<byte> data, ModePageValues values, ModeParameters mode)
    {
        if (values == ModePageValues.Changeable)
        {
            data[2] = DescriptorSense;
            data[4] = SoftwareWriteProtect;
            return;
        }

        var current = values == ModePageValues.Current ? mode : default;
        data[2] = (byte)(0x20 | (current.UsesDescriptorSense ? DescriptorSense : 0)); // TST: a task set for each I_T nexus
        data[3] = 0x10; // QUEUE ALGORITHM MODIFIER: unrestricted reordering
        data[4] = current.IsSoftwareWriteProtected ? SoftwareWriteProtect : (byte)0;
        BinaryPrimitives.WriteUInt16BigEndian(data[8..], 0xFFFF); // BUSY TIMEOUT PERIOD: unlimited
    }
}
