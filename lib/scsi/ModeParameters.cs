namespace Vhost.Scsi;

/// <summary>The mode parameters that initiators may change. The default value is the default of each.</summary>
/// <param name="IsWriteCacheDisabled">Caching page, WCE = 0: each write is on stable storage when it completes.</param>
/// <param name="UsesDescriptorSense">Control page, D_SENSE.</param>
/// <param name="IsSoftwareWriteProtected">Control page, SWP.</param>
internal readonly record struct ModeParameters(bool IsWriteCacheDisabled, bool UsesDescriptorSense, bool IsSoftwareWriteProtected)
{
    /// <summary>These parameters, with some taken from others.</summary>
    public ModeParameters With(ModeParameters others, ModeFields fields) => new(
        (fields & ModeFields.Caching) != 0 ? others.IsWriteCacheDisabled : IsWriteCacheDisabled,
        (fields & ModeFields.Control) != 0 ? others.UsesDescriptorSense : UsesDescriptorSense,
        (fields & ModeFields.Control) != 0 ? others.IsSoftwareWriteProtected : IsSoftwareWriteProtected);
}
