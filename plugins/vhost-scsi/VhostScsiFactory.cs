using System.Globalization;
using System.Numerics;
using Vhost.Abstractions;
using Vhost.Scsi;

namespace Vhost.Plugins.VhostScsi;

/// <summary>
/// Creates virtio SCSI devices. They share the logical units of shared bdevs, so that reservations and unit attentions work across controllers.
/// </summary>
[ExportDeviceType("scsi")]
public sealed class VhostScsiFactory : DeviceTypeFactory<VhostScsiOptions>
{
    private const string MachineIdPath = "/etc/machine-id";
    private readonly LogicalUnitRegistry _registry = new();

    /// <inheritdoc/>
    public override string Description => "virtio SCSI host: up to 256 disks behind one controller";

    /// <inheritdoc/>
    public override bool AllowsSharedBdevs => true;

    /// <inheritdoc/>
    protected override void Validate(VhostScsiOptions options, IOptionsErrors errors)
    {
        foreach (var (target, bdev) in options.Targets)
        {
            if (!TryParseTarget(target, out _))
            {
                errors.Add($"targets.{target}", $"'{target}' is no target number from 0 to 255");
            }

            if (string.IsNullOrEmpty(bdev))
            {
                errors.Add($"targets.{target}", "the bdev's name is missing");
            }
        }

        if (options.QueueSize < 2 || !BitOperations.IsPow2(options.QueueSize))
        {
            errors.Add("queueSize", $"{options.QueueSize} is not a power of two from 2 to 32768");
        }

        if (options.Identity is { Length: 0 })
        {
            errors.Add("identity", "it is empty; leave it out to use this machine's id");
        }

        if (options.Reservations is { } directory)
        {
            var fault = directory.Length == 0 ? "it is empty; leave it out to keep no reservations" : ReservationStore.FindFault(directory);
            if (fault is not null)
            {
                errors.Add("reservations", fault);
            }
        }
    }

    /// <inheritdoc/>
    protected override IReadOnlyList<BdevReference> GetBdevReferences(VhostScsiOptions options)
        => [.. options.Targets.Select(target => new BdevReference($"targets.{target.Key}", target.Value))];

    /// <inheritdoc/>
    protected override IVirtioDevice Create(DeviceContext context, VhostScsiOptions options)
    {
        var bdevs = new Dictionary<byte, IBdevPort>();
        foreach (var (target, bdev) in options.Targets)
        {
            if (!TryParseTarget(target, out var number))
            {
                throw new ArgumentException($"'{target}' is no target number from 0 to 255", nameof(options));
            }

            bdevs.Add(number, context.GetBdev(bdev));
        }

        var store = options.Reservations is { } directory ? _registry.OpenStore(directory, context.Logger) : null;
        return new VhostScsiDevice(context, options, _registry, options.Identity ?? ReadMachineId(), store, bdevs);
    }

    // "007" would be a second spelling of target 7.
    private static bool TryParseTarget(string text, out byte number)
        => byte.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number)
            && number.ToString(CultureInfo.InvariantCulture) == text;

    private static string ReadMachineId()
        => File.Exists(MachineIdPath) ? File.ReadAllText(MachineIdPath).Trim() : Environment.MachineName;
}
