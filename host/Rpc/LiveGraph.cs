using System.Text.Json.Nodes;
using Vhost.Host.Manifest;
using Vhost.Host.Wiring;

namespace Vhost.Host.Rpc;

/// <summary>
/// Changes a running host as if its manifest had been changed: each change is made to a copy of the manifest, the copy is checked as a whole, as
/// at start, and then the one part that differs is started or stopped. So the manifest is always that of the running state. Changes take turns.
/// </summary>
/// <param name="host">The running host.</param>
/// <param name="manifest">What it was started from.</param>
internal sealed partial class LiveGraph(VhostHost host, BoundManifest manifest)
{
    private const string BdevsKey = "bdevs";
    private const string TransportsKey = "transports";
    private const string ControllersKey = "controllers";

    private readonly SemaphoreSlim _turn = new(1);
    private volatile BoundManifest _current = manifest;

    /// <summary>The loaded plugins.</summary>
    internal Loading.PluginCatalog Plugins => _current.Plugins;

    /// <summary>The manifest of the running state, as a copy.</summary>
    internal JsonObject Save() => _current.Root.DeepClone().AsObject();

    /// <summary>The type of a controller, or null if there is none.</summary>
    /// <param name="name">The controller.</param>
    internal string? FindControllerType(string name) =>
        _current.Controllers.FirstOrDefault(controller => controller.Name == name)?.TypeName ?? FindDelayed(name)?[ManifestSections.TypeKey]?.GetValue<string>();

    /// <summary>The name of a controller type's section entry: its target number to bdev, in ascending order.</summary>
    /// <param name="controllerName">The controller.</param>
    internal IReadOnlyList<KeyValuePair<int, string>> GetTargets(string controllerName)
    {
        var section = FindDelayed(controllerName) ?? _current.Root[ControllersKey]?[controllerName] as JsonObject;
        return TargetsOf(section);
    }

    /// <summary>A string or flag of a controller's section, or null.</summary>
    /// <param name="controllerName">The controller.</param>
    /// <param name="key">The key.</param>
    internal JsonNode? GetOption(string controllerName, string key) =>
        (FindDelayed(controllerName) ?? _current.Root[ControllersKey]?[controllerName] as JsonObject)?[key]?.DeepClone();

    /// <summary>Whether a bdev is used by a controller or by a bdev that builds on it.</summary>
    /// <param name="bdevName">The bdev.</param>
    internal bool IsClaimed(string bdevName) =>
        _current.Controllers.Any(controller => controller.BdevReferences.Any(reference => reference.BdevName == bdevName))
        || _current.Bdevs.Any(source => source.Declaration.BuildsOn.Any(reference => reference.BdevName == bdevName));

    /// <summary>Changes what is set for a bdev, and saves it.</summary>
    /// <param name="bdevName">The bdev.</param>
    /// <param name="change">Changes its section of <c>bdevSettings</c>.</param>
    internal async Task ChangeBdevSettingsAsync(string bdevName, Action<JsonObject> change)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            if (host.FindPort(bdevName) is null)
            {
                throw RpcException.InvalidParameters($"there is no bdev \"{bdevName}\"");
            }

            var changed = Change(
                root =>
                {
                    var all = SectionOf(root, ManifestSections.BdevSettingsKey);
                    var section = SectionOf(all, bdevName);
                    change(section);
                    Prune(root, all, bdevName, section);
                },
                RpcException.InvalidParameters);
            Set(bdevName, changed);
            _current = changed;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>A name that no source has: a prefix and the least number.</summary>
    /// <param name="prefix">What it begins with.</param>
    internal string GetFreeName(string prefix)
    {
        var number = 0;
        while (_current.Bdevs.Any(source => source.Name == $"{prefix}{number}"))
        {
            number++;
        }

        return $"{prefix}{number}";
    }

    /// <summary>Adds and starts a bdev source.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="section">Its section of the manifest.</param>
    /// <returns>The bdevs that it has published.</returns>
    internal async Task<IReadOnlyList<string>> AddBdevsAsync(string name, JsonObject section)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_current.Bdevs.Any(source => source.Name == name))
            {
                throw RpcException.FileExists($"there is a bdev source \"{name}\" already");
            }

            var changed = Change(root => SectionOf(root, BdevsKey)[name] = section, RpcException.InvalidParameters);
            await StartAsync(host.AddBdevSourceAsync(changed.Bdevs.Single(source => source.Name == name), CancellationToken.None)).ConfigureAwait(false);
            string[] published = [.. host.GetStatus().Bdevs.Where(bdev => bdev.SourceName == name).Select(bdev => bdev.Name)];
            if (published.Length == 0)
            {
                // A manifest's source may wait for a device that is late; who calls wants to know now.
                await host.RemoveBdevSourceAsync(name).ConfigureAwait(false);
                throw RpcException.InvalidParameters($"\"{name}\" found no disk: the device is missing, not bound to a driver for user space, or empty; the log says which");
            }

            _current = changed;
            return published;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Removes a bdev source. Targets that use its bdevs are removed first, as for a disk that is pulled; other users are in the way.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="typeName">The type that it has to be of, or null for any.</param>
    /// <param name="onMissing">What to throw where there is none.</param>
    internal async Task RemoveBdevsAsync(string name, string? typeName, Func<string, RpcException> onMissing)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            var source = _current.Bdevs.FirstOrDefault(source => source.Name == name)
                ?? throw onMissing($"there is no bdev source \"{name}\"; a bdev that a source publishes beside others goes with its source");
            if (typeName is not null && source.TypeName != typeName)
            {
                throw onMissing($"\"{name}\" is of type {source.TypeName}, not {typeName}");
            }

            bool IsPublished(string bdev) => source.Declaration.PublishedNames.Any(pattern => BdevNamePattern.Matches(pattern, bdev));
            if (_current.Bdevs.FirstOrDefault(other => other.Declaration.BuildsOn.Any(reference => IsPublished(reference.BdevName))) is { } wrapper)
            {
                throw RpcException.Busy($"the bdev \"{wrapper.Name}\" builds on it; delete that first");
            }

            foreach (var controller in _current.Controllers)
            {
                if (controller.BdevReferences.Any(reference => IsPublished(reference.BdevName)) && GetTargets(controller.Name).Count == 0)
                {
                    throw RpcException.Busy($"the controller \"{controller.Name}\" uses it; delete that first");
                }
            }

            foreach (var controller in _current.Controllers)
            {
                foreach (var (number, bdev) in GetTargets(controller.Name).Where(target => IsPublished(target.Value)))
                {
                    await RemoveTargetInTurnAsync(controller.Name, number).ConfigureAwait(false);
                }
            }

            string[] settled = [.. _current.BdevSettings.Keys.Where(IsPublished)];
            var changed = Change(
                root =>
                {
                    SectionOf(root, BdevsKey).Remove(name);
                    foreach (var bdev in settled)
                    {
                        var all = SectionOf(root, ManifestSections.BdevSettingsKey);
                        all.Remove(bdev);
                        Prune(root, all, bdev, []);
                    }
                },
                RpcException.Busy);
            await host.RemoveBdevSourceAsync(name).ConfigureAwait(false);
            _current = changed;
            foreach (var bdev in settled)
            {
                // A bdev that comes later under the name begins without.
                Set(bdev, changed);
            }

            if (host.DescribeHeld(name) is { } held)
            {
                throw RpcException.Busy($"\"{name}\" was removed, but not all of it has ended: {held}");
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    private static JsonObject SectionOf(JsonObject root, string key)
    {
        if (root[key] is JsonObject section)
        {
            return section;
        }

        section = [];
        root[key] = section;
        return section;
    }

    /// <summary>Takes empty sections out, so that what was set and set back leaves no trace.</summary>
    private static void Prune(JsonObject root, JsonObject all, string bdevName, JsonObject section)
    {
        if (section.Count == 0)
        {
            all.Remove(bdevName);
        }

        if (all.Count == 0)
        {
            root.Remove(ManifestSections.BdevSettingsKey);
        }
    }

    private void Set(string bdevName, BoundManifest manifest)
    {
        var settings = manifest.BdevSettings.GetValueOrDefault(bdevName);
        host.SetQos(bdevName, settings?.Qos ?? Bdevs.QosLimits.None);
        host.SetWriteProtection(bdevName, settings?.IsReadOnly == true);
    }

    /// <summary>Waits for a part to start; a failure is the caller's error.</summary>
    private static async Task StartAsync(Task start)
    {
        try
        {
            await start.ConfigureAwait(false);
        }
        catch (HostStartException exception)
        {
            throw RpcException.Failed(exception.Message);
        }
        catch (InvalidOperationException exception)
        {
            throw RpcException.Busy(exception.Message);
        }
    }

    /// <summary>Makes a changed copy of the manifest and checks it as a whole.</summary>
    private BoundManifest Change(Action<JsonObject> change, Func<string, RpcException> onFault)
    {
        var root = Save();
        change(root);
        var result = ManifestReader.Reread(root, _current);
        return result.Manifest ?? throw onFault(string.Join("; ", result.Errors.Take(8).Select(error => error.Path.Length == 0 ? error.Message : $"{error.Path}: {error.Message}")));
    }
}
