using Vhost.Plugins.Nvme;
using Vhost.Testing.BlockController;
using Vhost.Testing.DeviceModels.Nvme;

namespace Vhost.Nvme.Tests;

/// <summary>The driver, and a model with namespaces 1 (512-byte blocks) and 2 (4096).</summary>
internal sealed class NvmeHarness : ControllerHarness<NvmeModel>
{
    public const int GuestBytes = 8 << 20;

    public NvmeHarness(NvmeSettings? settings = null, Action<NvmeOptions>? configure = null, bool withNamespaces = true, bool startsServer = true, string? bdevName = "Nvme0n1")
        : base(new NvmeModel(settings), GuestBytes)
    {
        if (withNamespaces)
        {
            Model.Add(1, new NvmeModelNamespace(512, 32768));
            Model.Add(2, new NvmeModelNamespace(4096, 4096));
        }

        var options = new NvmeOptions { Address = SocketPath, TimeoutSeconds = 1, AttachTimeoutSeconds = 20, QueueSize = 64 };
        configure?.Invoke(options);
        Drive(new NvmeBdevFactory(), options, "Nvme0", bdevName, startsServer);
    }

    public NvmeHarness Start()
    {
        Bdevs.Start();
        return this;
    }
}
