using Microsoft.Extensions.Logging;

namespace Vhost.Pci;

/// <summary>Opens devices by address; the process's one place for it, so that containers and memory are shared. Drivers use <c>PciDeviceOpener.Shared</c>; tests inject their own.</summary>
public interface IPciDeviceOpener
{
    /// <summary>Takes a device. It is reset and does no DMA yet. Blocks for at most some seconds.</summary>
    /// <param name="address"><c>dddd:bb:dd.f</c>, or the path of a vfio-user socket.</param>
    /// <param name="logger">Where the device's troubles go.</param>
    /// <exception cref="PciException">There is no such device, or it is not bound to a driver that allows this: says the remedy.</exception>
    IPciDevice Open(string address, ILogger logger);
}
