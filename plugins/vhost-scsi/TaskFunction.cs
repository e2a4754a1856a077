namespace Vhost.Plugins.VhostScsi;

/// <summary>Task management functions (virtio 1.3, section 5.6.6.2).</summary>
internal enum TaskFunction : uint
{
    AbortTask = 0,
    AbortTaskSet = 1,
    ClearAca = 2,
    ClearTaskSet = 3,
    ItNexusReset = 4,
    LogicalUnitReset = 5,
    QueryTask = 6,
    QueryTaskSet = 7,
}
