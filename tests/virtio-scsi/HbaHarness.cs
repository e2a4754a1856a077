using Vhost.Plugins.VirtioScsi;
using Vhost.Testing.BlockController;
using Vhost.Testing.DeviceModels.VirtioScsi;

namespace Vhost.VirtioScsi.Tests;

/// <summary>The driver, and a model of an HBA with disks at targets 0 (512-byte blocks) and 3 (4096).</summary>
internal sealed class HbaHarness : ControllerHarness<VirtioScsiModel>
{
    public const int GuestBytes = 4 << 20;

    public HbaHarness(VirtioScsiSettings? settings = null, int attachTimeoutSeconds = 20, string bdevName = "Hba0t0", bool startsServer = true, int timeoutSeconds = 1)
        : base(new VirtioScsiModel(settings), GuestBytes)
    {
        Model.Add(0, 512, 32768);
        Model.Add(3, 4096, 4096);
        var options = new VirtioScsiOptions { Address = SocketPath, TimeoutSeconds = timeoutSeconds, AttachTimeoutSeconds = attachTimeoutSeconds, QueueSize = 64 };
        Drive(new VirtioScsiBdevFactory(), options, "Hba0", bdevName, startsServer);
    }

    public HbaHarness Start()
    {
        Bdevs.Start();
        return this;
    }
}
