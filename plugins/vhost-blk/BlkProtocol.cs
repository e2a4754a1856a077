namespace Vhost.Plugins.VhostBlk;

/// <summary>Numbers of the virtio block device (virtio 1.3, section 5.2).</summary>
internal static class BlkProtocol
{
    public const uint DeviceId = 2;

    public const int SectorBytes = 512;
    public const int SectorShift = 9;
    public const int HeaderBytes = 16;
    public const int RangeBytes = 16;
    public const int IdBytes = 20;
    public const int LifetimeBytes = 6;

    public const uint TypeIn = 0;
    public const uint TypeOut = 1;
    public const uint TypeFlush = 4;
    public const uint TypeGetId = 8;
    public const uint TypeGetLifetime = 10;
    public const uint TypeDiscard = 11;
    public const uint TypeWriteZeroes = 13;
    public const uint TypeSecureErase = 14;

    public const byte StatusOk = 0;
    public const byte StatusIoError = 1;
    public const byte StatusUnsupported = 2;

    public const uint RangeFlagUnmap = 1;

    public const ulong FeatureSegMax = 1UL << 2;
    public const ulong FeatureReadOnly = 1UL << 5;
    public const ulong FeatureBlockSize = 1UL << 6;
    public const ulong FeatureFlush = 1UL << 9;
    public const ulong FeatureTopology = 1UL << 10;
    public const ulong FeatureConfigWce = 1UL << 11;
    public const ulong FeatureMultiQueue = 1UL << 12;
    public const ulong FeatureDiscard = 1UL << 13;
    public const ulong FeatureWriteZeroes = 1UL << 14;
    public const ulong FeatureLifetime = 1UL << 15;
    public const ulong FeatureSecureErase = 1UL << 16;

    /// <summary>Every feature that this device may ever offer.</summary>
    public const ulong AllFeatures = FeatureSegMax | FeatureReadOnly | FeatureBlockSize | FeatureFlush | FeatureTopology | FeatureConfigWce
        | FeatureMultiQueue | FeatureDiscard | FeatureWriteZeroes | FeatureLifetime | FeatureSecureErase;
}
