using Vhost.Testing.BlockController;
using Vhost.Testing.DeviceModels.VirtioScsi;

namespace Vhost.VirtioScsi.Tests;

/// <summary>What the driver shares with the others.</summary>
public sealed class HbaControllerTests : ControllerTests<VirtioScsiModel>
{
    private const byte Read10 = 0x28;

    protected override string Noun => "HBA";

    protected override ControllerHarness<VirtioScsiModel> Create(int vectors, bool hasLine, bool startsServer, int timeoutSeconds) =>
        new HbaHarness(new VirtioScsiSettings { Vectors = vectors, HasLine = hasLine }, startsServer: startsServer, timeoutSeconds: timeoutSeconds);

    protected override void HoldReads(VirtioScsiModel model, bool holds) =>
        model.Settings.OnCommand = holds ? (_, code) => code == Read10 ? VirtioScsiFault.Hold : VirtioScsiFault.None : null;

    protected override void HoldLine(VirtioScsiModel model) => model.Settings.HoldsLine = true;

    protected override void Plug(ControllerHarness<VirtioScsiModel> harness)
    {
        harness.Model.Add(5, 512, 2048);
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.ContainsKey("Hba0t5"), "the new disk");
    }
}
