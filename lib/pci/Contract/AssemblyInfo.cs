[assembly: Vhost.Pci.PciContract(Vhost.Pci.PciContractVersion.Major, Vhost.Pci.PciContractVersion.Minor)]
