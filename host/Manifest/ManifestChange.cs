using System.Text.Json.Nodes;

namespace Vhost.Host.Manifest;

/// <summary>What a step of a change does.</summary>
internal enum ManifestChangeKind
{
    /// <summary>A target is taken from a controller.</summary>
    RemoveTarget,

    /// <summary>A controller goes, with its transport.</summary>
    RemoveController,

    /// <summary>A bdev source goes.</summary>
    RemoveBdev,

    /// <summary>A bdev source comes.</summary>
    AddBdev,

    /// <summary>A bdev source gets other options: live if it can, else it is removed and added.</summary>
    ChangeBdev,

    /// <summary>Limits or write protection of a bdev.</summary>
    SetBdev,

    /// <summary>A controller comes, with its transport.</summary>
    AddController,

    /// <summary>A target is given to a controller.</summary>
    AddTarget,

    /// <summary>A controller's queues go to other reactors.</summary>
    MoveController,

    /// <summary>A controller's interrupts are coalesced otherwise.</summary>
    SetCoalescing,

    /// <summary>The transport of controllers that are created by RPC.</summary>
    SetDefaultTransport,

    /// <summary>A section that takes effect at a start only.</summary>
    NeedsRestart,
}

/// <summary>One step from a manifest to another.</summary>
/// <param name="Kind">What it does.</param>
/// <param name="Name">The part, or the key of the section.</param>
/// <param name="Target">The target's number, for steps with one.</param>
/// <param name="Value">The new section or value, or null for none.</param>
/// <param name="Transport">The section of a new controller's transport.</param>
internal sealed record ManifestChange(ManifestChangeKind Kind, string Name, string? Target = null, JsonNode? Value = null, JsonNode? Transport = null)
{
    /// <summary>The step for people: what is done to what.</summary>
    public override string ToString() => Kind switch
    {
        ManifestChangeKind.RemoveTarget => $"remove target {Target} of controller {Name}",
        ManifestChangeKind.RemoveController => $"remove controller {Name} and its transport",
        ManifestChangeKind.RemoveBdev => $"remove bdev {Name}",
        ManifestChangeKind.AddBdev => $"add bdev {Name}",
        ManifestChangeKind.ChangeBdev => $"change bdev {Name}",
        ManifestChangeKind.SetBdev => $"set limits and write protection of bdev {Name}",
        ManifestChangeKind.AddController => $"add controller {Name} and its transport",
        ManifestChangeKind.AddTarget => $"add target {Target} to controller {Name}",
        ManifestChangeKind.MoveController => $"move controller {Name} to CPUs {Value ?? "of all reactors"}",
        ManifestChangeKind.SetCoalescing => $"coalesce interrupts of controller {Name}",
        ManifestChangeKind.SetDefaultTransport => "set the transport of controllers that are created by RPC",
        _ => $"{Name} takes effect at the next start",
    };

    /// <summary>Makes the step in a manifest.</summary>
    /// <param name="root">The manifest; changed.</param>
    internal void ApplyTo(JsonObject root)
    {
        switch (Kind)
        {
            case ManifestChangeKind.RemoveTarget:
                Controller(root)[ManifestDiff.TargetsKey]!.AsObject().Remove(Target!);
                break;
            case ManifestChangeKind.AddTarget:
                Section(Controller(root), ManifestDiff.TargetsKey)[Target!] = Value!.DeepClone();
                break;
            case ManifestChangeKind.RemoveController:
                root[ManifestDiff.TransportsKey]!.AsObject().Remove(Controller(root)[ManifestSections.TransportKey]!.GetValue<string>());
                root[ManifestDiff.ControllersKey]!.AsObject().Remove(Name);
                break;
            case ManifestChangeKind.AddController:
                Section(root, ManifestDiff.ControllersKey)[Name] = Value!.DeepClone();
                Section(root, ManifestDiff.TransportsKey)[Value[ManifestSections.TransportKey]!.GetValue<string>()] = Transport!.DeepClone();
                break;
            case ManifestChangeKind.RemoveBdev:
                root[ManifestDiff.BdevsKey]!.AsObject().Remove(Name);
                break;
            case ManifestChangeKind.AddBdev or ManifestChangeKind.ChangeBdev:
                Section(root, ManifestDiff.BdevsKey)[Name] = Value!.DeepClone();
                break;
            case ManifestChangeKind.SetBdev:
                Set(Section(root, ManifestSections.BdevSettingsKey), Name);
                if (Section(root, ManifestSections.BdevSettingsKey).Count == 0)
                {
                    // What was set and set back leaves no trace.
                    root.Remove(ManifestSections.BdevSettingsKey);
                }

                break;
            case ManifestChangeKind.MoveController:
                Set(Controller(root), ManifestSections.CpumaskKey);
                break;
            case ManifestChangeKind.SetCoalescing:
                Set(Controller(root), ManifestSections.CoalescingKey);
                break;
            case ManifestChangeKind.SetDefaultTransport:
                Set(Section(root, ManifestSections.RpcKey), ManifestSections.DefaultTransportKey);
                break;
            default:
                Set(root, Name);
                break;
        }
    }

    private static JsonObject Section(JsonObject owner, string key)
    {
        if (owner[key] is not JsonObject section)
        {
            owner[key] = section = [];
        }

        return section;
    }

    private JsonObject Controller(JsonObject root) => root[ManifestDiff.ControllersKey]![Name]!.AsObject();

    private void Set(JsonObject owner, string key)
    {
        owner.Remove(key);
        if (Value is not null)
        {
            owner[key] = Value.DeepClone();
        }
    }
}
