namespace Vhost.Plugins.Nvme.Protocol;

/// <summary>Opcodes, identifiers and fields of commands (NVM Express Base 2.0, section 5; NVM Command Set 1.0, section 3).</summary>
internal static class NvmeOpcode
{
    public const byte Flush = 0x00;
    public const byte Write = 0x01;
    public const byte Read = 0x02;
    public const byte Compare = 0x05;
    public const byte WriteZeroes = 0x08;
    public const byte DatasetManagement = 0x09;

    public const byte DeleteSubmissionQueue = 0x00;
    public const byte CreateSubmissionQueue = 0x01;
    public const byte GetLogPage = 0x02;
    public const byte DeleteCompletionQueue = 0x04;
    public const byte CreateCompletionQueue = 0x05;
    public const byte Identify = 0x06;
    public const byte Abort = 0x08;
    public const byte SetFeatures = 0x09;
    public const byte AsyncEventRequest = 0x0c;
    public const byte DoorbellBufferConfig = 0x7c;

    public const uint IdentifyNamespace = 0x00;
    public const uint IdentifyController = 0x01;
    public const uint IdentifyActiveNamespaces = 0x02;

    public const uint FeatureNumberOfQueues = 0x07;
    public const uint FeatureAsyncEventConfiguration = 0x0b;

    public const uint LogErrorInformation = 0x01;
    public const uint LogHealth = 0x02;
    public const uint LogChangedNamespaces = 0x04;

    /// <summary>CDW12 of read and write: force unit access.</summary>
    public const uint ForceUnitAccess = 1u << 30;

    /// <summary>CDW12 of write zeroes: the controller may deallocate.</summary>
    public const uint Deallocate = 1u << 25;

    /// <summary>CDW11 of dataset management: attribute deallocate.</summary>
    public const uint DatasetDeallocate = 1u << 2;

    /// <summary>The namespace id that stands for all of them.</summary>
    public const uint AllNamespaces = uint.MaxValue;
}
