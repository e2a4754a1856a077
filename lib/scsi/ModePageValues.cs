namespace Vhost.Scsi;

/// <summary>The PC field of MODE SENSE (SPC-4, section 6.13.3).</summary>
internal enum ModePageValues
{
    Current = 0,
    Changeable = 1,
    Default = 2,
    Saved = 3,
}
