using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Pci.Devices;
using Vhost.Pci.Dma;

namespace Vhost.Pci;

/// <summary>Opens devices by their address, through the driver that they are bound to. Thread-safe.</summary>
public sealed class PciDeviceOpener : IPciDeviceOpener
{
    private readonly PciPaths _paths;
    private readonly VfioSystem _vfio;
    private readonly Lock _lock = new();
    private readonly HashSet<string> _open = [];
    private PhysicalDmaDomain? _physical;
    private ILogger _logger = NullLogger.Instance;

    /// <summary>Creates an opener of its own; the process normally uses <see cref="Shared"/>.</summary>
    /// <param name="paths">Where the kernel's files are.</param>
    public PciDeviceOpener(PciPaths? paths = null)
    {
        _paths = paths ?? new PciPaths();
        _vfio = new VfioSystem(_paths, GetPhysical);
    }

    /// <summary>The process's opener: its devices share containers, memory mappings and huge pages.</summary>
    public static PciDeviceOpener Shared { get; } = new();

    /// <inheritdoc/>
    public IPciDevice Open(string address, ILogger logger)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(address);
        if (address.Contains('/', StringComparison.Ordinal))
        {
            return VfioUserFunction.Open(address, logger);
        }

        if (!PciAddress.TryParse(address, out PciAddress pci))
        {
            throw new PciException($"'{address}' is no PCI address (dddd:bb:dd.f) and no path of a vfio-user socket");
        }

        if (!Directory.Exists(_paths.Device(pci)))
        {
            throw new PciException($"{pci}: there is no such device; 'vhostd pci list' shows what there is");
        }

        // One process may hold a device once; a second opening would reset it under the first.
        lock (_lock)
        {
            _logger = logger;
            if (!_open.Add(pci.ToString()))
            {
                throw new PciException($"{pci}: this process drives the device already");
            }
        }

        try
        {
            PciFunction function = PciPaths.LinkName(Path.Combine(_paths.Device(pci), "driver")) switch
            {
                "vfio-pci" => VfioFunction.Open(pci, _paths, _vfio, logger),
                "uio_pci_generic" => UioFunction.Open(pci, _paths, GetPhysical(), logger),
                string other => throw new PciException($"{pci}: the kernel's driver {other} holds the device; 'vhostd pci bind {pci}' takes it where that is safe"),
                null => throw new PciException($"{pci}: the device has no driver; 'vhostd pci bind {pci}' gives it one"),
            };
            function.Closed += () => Forget(pci);
            return function;
        }
        catch
        {
            Forget(pci);
            throw;
        }
    }

    private PhysicalDmaDomain GetPhysical()
    {
        lock (_lock)
        {
            return _physical ??= new PhysicalDmaDomain(_paths, _logger);
        }
    }

    private void Forget(PciAddress address)
    {
        lock (_lock)
        {
            _open.Remove(address.ToString());
        }
    }
}
