using Vhost.Testing.BlockController;
using Vhost.Testing.DeviceModels.Nvme;

namespace Vhost.Nvme.Tests;

/// <summary>What the driver shares with the others.</summary>
public sealed class NvmeControllerTests : ControllerTests<NvmeModel>
{
    protected override string Noun => "controller";

    protected override ControllerHarness<NvmeModel> Create(int vectors, bool hasLine, bool startsServer, int timeoutSeconds) =>
        new NvmeHarness(new NvmeSettings { Vectors = vectors, HasLine = hasLine }, options => options.TimeoutSeconds = timeoutSeconds, startsServer: startsServer);

    protected override void HoldReads(NvmeModel model, bool holds) =>
        model.Settings.OnIo = holds ? command => command.Opcode == 2 ? NvmeFault.Hold : NvmeFault.None : null;

    protected override void HoldLine(NvmeModel model) => model.Settings.HoldsLine = true;

    protected override void Plug(ControllerHarness<NvmeModel> harness)
    {
        harness.Model.Add(5, new NvmeModelNamespace(512, 1000));
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.ContainsKey("Nvme0n5"), "the new namespace");
    }
}
