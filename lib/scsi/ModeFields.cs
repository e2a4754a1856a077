namespace Vhost.Scsi;

/// <summary>The mode parameters that one MODE SELECT sets; the others are left as another initiator may just have set them.</summary>
[Flags]
internal enum ModeFields
{
    None = 0,
    Caching = 1,
    Control = 2,
}
