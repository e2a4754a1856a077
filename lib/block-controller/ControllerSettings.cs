namespace Vhost.BlockController;

/// <summary>What a <see cref="ControllerThread"/> has to know of its controller.</summary>
/// <param name="Driver">The driver's name, for the thread's.</param>
/// <param name="Noun">What people call the controller, with the article's noun alone: <c>controller</c>, <c>HBA</c>.</param>
/// <param name="Kind">What is looked for: <c>NVMe controller</c>.</param>
/// <param name="Address">A PCI address or the path of a vfio-user socket.</param>
/// <param name="AttachTimeout">How long it is looked for before it is given up.</param>
public sealed record ControllerSettings(string Driver, string Noun, string Kind, string Address, TimeSpan AttachTimeout);
