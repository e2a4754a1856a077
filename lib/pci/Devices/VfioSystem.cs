using Microsoft.Extensions.Logging;
using Vhost.Linux;
using Vhost.Pci.Dma;

namespace Vhost.Pci.Devices;

/// <summary>
/// The vfio groups and containers of the process. Groups join a container that is there where the IOMMUs are of one kind, so that memory is
/// pinned and mapped once for all devices.
/// </summary>
internal sealed unsafe class VfioSystem(PciPaths paths, Func<PhysicalDmaDomain> physical)
{
    private readonly Lock _lock = new();
    private readonly List<Container> _containers = [];
    private readonly Dictionary<string, Group> _groups = [];

    /// <summary>Opens a device; the release gives its group back and must come last.</summary>
    public (FileDescriptor Device, DmaDomain Domain, Action Release) Open(PciAddress address, ILogger logger)
    {
        string number = PciPaths.LinkName(Path.Combine(paths.Device(address), "iommu_group"))
            ?? throw new PciException($"{address}: bound to vfio-pci without an IOMMU group; switch the IOMMU on (intel_iommu=on, amd_iommu=on) or use uio_pci_generic");
        lock (_lock)
        {
            Group group = _groups.TryGetValue(number, out Group? present) ? present : OpenGroup(number, address, logger);
            group.Users++;
            try
            {
                return (GetDevice(group, address), group.Container.Domain, () => Release(group));
            }
            catch
            {
                Release(group);
                throw;
            }
        }
    }

    private static FileDescriptor GetDevice(Group group, PciAddress address)
    {
        byte[] name = System.Text.Encoding.ASCII.GetBytes(address + "\0");
        // SAFETY: the kernel reads a terminated name that is pinned for the call.
        fixed (byte* p = name)
        {
            int fd = Ioctl.TryCall(group.File.Raw, Vfio.GroupGetDeviceFd, p);
            return fd >= 0 ? new FileDescriptor(fd) : throw new PciException(
                $"{address}: vfio does not give the device: {Errno.Describe(-fd)} ({Errno.Name(-fd)}); "
                + (-fd == Errno.EBUSY ? "another process holds it" : "check that it is bound to vfio-pci"));
        }
    }

    private Group OpenGroup(string number, PciAddress address, ILogger logger)
    {
        bool isNoIommu = !File.Exists(Path.Combine(paths.Dev, "vfio", number)) && File.Exists(Path.Combine(paths.Dev, "vfio", "noiommu-" + number));
        string path = Path.Combine(paths.Dev, "vfio", (isNoIommu ? "noiommu-" : "") + number);
        FileDescriptor file;
        try
        {
            file = FileIo.Open(path, OpenMode.ReadWrite);
        }
        catch (LinuxException e)
        {
            string remedy = e.Error switch
            {
                Errno.EBUSY => "another process uses the group",
                Errno.EACCES => $"give this user access to {path}",
                Errno.EPERM => "vfio without an IOMMU needs CAP_SYS_RAWIO",
                Errno.ENOENT => "load the module vfio-pci and bind every device of the group to it",
                _ => "check the kernel's log",
            };
            throw new PciException($"{address}: {e.Message}; {remedy}", e);
        }

        try
        {
            var status = new VfioGroupStatus { ArgumentBytes = (uint)sizeof(VfioGroupStatus) };
            _ = Ioctl.Call(file.Raw, Vfio.GroupGetStatus, &status, "VFIO_GROUP_GET_STATUS");
            if ((status.Flags & Vfio.GroupViable) == 0)
            {
                throw new PciException($"{address}: its IOMMU group {number} has devices that other drivers hold; bind all of them to vfio-pci, or unbind them");
            }

            var group = new Group(number, file, Join(file, isNoIommu, logger));
            _groups.Add(number, group);
            return group;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private Container Join(FileDescriptor group, bool isNoIommu, ILogger logger)
    {
        foreach (Container container in _containers.Where(c => !c.Domain.IsPhysical && !isNoIommu))
        {
            int raw = container.File.Raw;
            if (Ioctl.TryCall(group.Raw, Vfio.GroupSetContainer, &raw) >= 0)
            {
                container.Groups++;
                ((VfioDmaDomain)container.Domain).RefreshRanges();
                return container;
            }
        }

        FileDescriptor file = FileIo.Open(Path.Combine(paths.Dev, "vfio/vfio"), OpenMode.ReadWrite);
        try
        {
            int version = Ioctl.TryCall(file.Raw, Vfio.GetApiVersion, 0);
            if (version != Vfio.ApiVersion)
            {
                throw new PciException($"this kernel's vfio has API version {version} instead of {Vfio.ApiVersion}");
            }

            int kind = isNoIommu ? Vfio.NoIommu
                : Ioctl.TryCall(file.Raw, Vfio.CheckExtension, Vfio.Type1v2) > 0 ? Vfio.Type1v2 : Vfio.Type1;
            if (Ioctl.TryCall(file.Raw, Vfio.CheckExtension, kind) <= 0)
            {
                throw new PciException($"this kernel's vfio lacks {(isNoIommu ? "its mode without an IOMMU" : "the type 1 IOMMU; load the module vfio_iommu_type1")}");
            }

            int raw = file.Raw;
            _ = Ioctl.Call(group.Raw, Vfio.GroupSetContainer, &raw, "VFIO_GROUP_SET_CONTAINER");
            int result = Ioctl.TryCall(file.Raw, Vfio.SetIommu, kind);
            if (result < 0)
            {
                throw new LinuxException("ioctl(VFIO_SET_IOMMU)", -result, result == -Errno.EPERM
                    ? "the platform cannot remap interrupts: set allow_unsafe_interrupts=1 of vfio_iommu_type1 where its users are trusted" : "");
            }

            var container = new Container(file, isNoIommu ? physical() : new VfioDmaDomain(file, logger)) { Groups = 1 };
            _containers.Add(container);
            return container;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private void Release(Group group)
    {
        lock (_lock)
        {
            if (--group.Users > 0)
            {
                return;
            }

            _groups.Remove(group.Number);
            group.File.Dispose();
            if (--group.Container.Groups > 0)
            {
                return;
            }

            _containers.Remove(group.Container);
            if (group.Container.Domain is VfioDmaDomain domain)
            {
                domain.Close();
            }
            else
            {
                group.Container.File.Dispose();
            }
        }
    }

    private sealed class Container(FileDescriptor file, DmaDomain domain)
    {
        public FileDescriptor File => file;

        public DmaDomain Domain => domain;

        public int Groups { get; set; }
    }

    private sealed class Group(string number, FileDescriptor file, Container container)
    {
        public string Number => number;

        public FileDescriptor File => file;

        public Container Container => container;

        public int Users { get; set; }
    }
}
