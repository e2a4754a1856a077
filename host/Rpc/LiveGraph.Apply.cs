using System.Text.Json.Nodes;
using Vhost.Host.Loading;
using Vhost.Host.Manifest;
using Vhost.Host.Wiring;

namespace Vhost.Host.Rpc;

/// <summary>What an apply came to.</summary>
/// <param name="Done">The steps, in their order.</param>
/// <param name="Restart">What takes effect at the next start only.</param>
/// <param name="Warnings">What the check of the manifest warned of.</param>
internal sealed record ApplyResult(IReadOnlyList<string> Done, IReadOnlyList<string> Restart, IReadOnlyList<string> Warnings);

/// <content>Changes of parts that run, and the change to another manifest.</content>
internal sealed partial class LiveGraph
{
    /// <summary>Reads the file that the host was started from, and makes the running state match it.</summary>
    /// <exception cref="RpcException">It has faults, or a step failed.</exception>
    internal Task<ApplyResult> ReloadAsync()
    {
        if (!_current.IsOfFile)
        {
            throw RpcException.InvalidArgument("vhostd was started without a manifest; use vhostd apply FILE");
        }

        return ApplyAsync(new ManifestRequest(_current.FileName), isCheckOnly: false);
    }

    /// <summary>Makes the running state match a manifest, by the fewest steps. The whole manifest is checked before anything is done.</summary>
    /// <param name="request">The manifest.</param>
    /// <param name="isCheckOnly">Whether the steps are only found.</param>
    /// <exception cref="RpcException">It has faults and nothing was done; or a step failed, and those before it are done.</exception>
    internal async Task<ApplyResult> ApplyAsync(ManifestRequest request, bool isCheckOnly)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            var running = _current;
            var result = ManifestReader.Read(request with
            {
                Assignments = running.Assignments,
                LoadPlugins = (directories, policy) => PluginCatalogBuilder.LoadAdditional(running.Plugins, running.PluginDirectories.Union(directories, StringComparer.Ordinal), policy),
            });
            if (result.Manifest is not { } wanted)
            {
                throw RpcException.InvalidParameters(string.Join("; ", result.Errors.Select(error => error.Path.Length == 0 ? error.Message : $"{error.Path}: {error.Message}")));
            }

            // From here on what the new plugins export can be used, also where a step fails.
            var reports = PluginChanges.Find(running.Plugins, wanted.Plugins);
            var to = wanted.Root.DeepClone().AsObject();
            if (_hasNamedReactors && to["reactors"]?[ManifestSections.CpumaskKey] is null && running.Root["reactors"]?[ManifestSections.CpumaskKey] is { } named)
            {
                // A manifest that leaves the reactors to chance agrees with those that run.
                SectionOf(to, "reactors")[ManifestSections.CpumaskKey] = named.DeepClone();
            }

            var steps = ManifestDiff.Find(running.Root, to, [.. running.Bdevs.Select(source => source.Name)], [.. wanted.Bdevs.Select(source => source.Name)]);
            var done = new List<string>(reports.Loaded);
            var restart = new List<string>(reports.Changed);
            if (!isCheckOnly)
            {
                _current = running with { Plugins = wanted.Plugins };
            }

            foreach (var step in steps)
            {
                if (step.Kind == ManifestChangeKind.NeedsRestart)
                {
                    restart.Add(step.ToString());
                    continue;
                }

                if (!isCheckOnly)
                {
                    try
                    {
                        await RunStepAsync(step).ConfigureAwait(false);
                    }
                    catch (Exception exception) when (exception is RpcException or HostStartException or InvalidOperationException or TimeoutException)
                    {
                        throw RpcException.Failed($"{step} failed: {(exception as RpcException)?.Detail ?? exception.Message}; done so far: {(done.Count == 0 ? "nothing" : string.Join("; ", done))}. Correct it and apply again");
                    }
                }

                done.Add(step.ToString());
            }

            return new ApplyResult(done, restart, [.. result.Warnings.Select(warning => warning.ToString())]);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Changes options of a bdev source while it runs.</summary>
    /// <param name="name">The source.</param>
    /// <param name="typeName">The type that it has to be of.</param>
    /// <param name="change">Changes its section.</param>
    internal async Task AdjustBdevsAsync(string name, string typeName, Action<JsonObject> change)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_current.Bdevs.FirstOrDefault(source => source.Name == name) is not { } source)
            {
                throw RpcException.NoSuchDevice($"there is no bdev source \"{name}\"");
            }

            if (source.TypeName != typeName)
            {
                throw RpcException.NoSuchDevice($"\"{name}\" is of type {source.TypeName}, not {typeName}");
            }

            var changed = Change(root => change(root[BdevsKey]![name]!.AsObject()), RpcException.InvalidParameters);
            bool isDone;
            try
            {
                isDone = await host.TryAdjustBdevSourceAsync(changed.Bdevs.Single(known => known.Name == name)).ConfigureAwait(false);
            }
            catch (InvalidOperationException exception)
            {
                throw RpcException.InvalidParameters(exception.Message);
            }

            if (!isDone)
            {
                throw RpcException.InvalidParameters($"\"{name}\" cannot change so while it runs: delete it and create it anew");
            }

            _current = changed;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Changes a controller while it runs: its CPUs or its coalescing.</summary>
    /// <param name="name">The controller.</param>
    /// <param name="key">The key of its section.</param>
    /// <param name="value">The value, or null for the default.</param>
    internal async Task ChangeControllerAsync(string name, string key, JsonNode? value)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            if (FindControllerType(name) is null)
            {
                throw NoController(name);
            }

            if (FindDelayed(name) is { } delayed)
            {
                var section = delayed.DeepClone().AsObject();
                section.Remove(key);
                if (value is not null)
                {
                    section[key] = value;
                }

                PreviewSection(name, section);
                _delayed[name] = section;
                return;
            }

            var kind = key == ManifestSections.CpumaskKey ? ManifestChangeKind.MoveController : ManifestChangeKind.SetCoalescing;
            try
            {
                await RunStepAsync(new ManifestChange(kind, name, Value: value)).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is HostStartException or InvalidOperationException)
            {
                throw RpcException.InvalidArgument(exception.Message);
            }
            catch (TimeoutException exception)
            {
                throw RpcException.Busy(exception.Message);
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Does one step, and takes it into the manifest of the running state.</summary>
    private async Task RunStepAsync(ManifestChange step)
    {
        var changed = Change(
            root =>
            {
                step.ApplyTo(root);
                if (step.Kind is ManifestChangeKind.MoveController or ManifestChangeKind.AddController)
                {
                    NameReactors(root);
                }
            },
            RpcException.InvalidArgument);
        BoundController Controller() => changed.Controllers.Single(controller => controller.Name == step.Name);
        BoundBdevSource Source() => changed.Bdevs.Single(source => source.Name == step.Name);
        switch (step.Kind)
        {
            case ManifestChangeKind.RemoveTarget:
                _current = changed;
                await host.RemoveTargetAsync(Controller(), Number(step)).ConfigureAwait(false);
                break;
            case ManifestChangeKind.AddTarget:
                await host.AddTargetAsync(Controller(), Number(step), step.Value!.GetValue<string>()).ConfigureAwait(false);
                break;
            case ManifestChangeKind.RemoveController:
                await host.RemoveControllerAsync(step.Name).ConfigureAwait(false);
                break;
            case ManifestChangeKind.AddController:
                await host.AddControllerAsync(Controller(), changed.Transports.Single(transport => transport.Name == Controller().TransportName), CancellationToken.None).ConfigureAwait(false);
                break;
            case ManifestChangeKind.RemoveBdev:
                await host.RemoveBdevSourceAsync(step.Name).ConfigureAwait(false);
                break;
            case ManifestChangeKind.AddBdev:
                await host.AddBdevSourceAsync(Source(), CancellationToken.None).ConfigureAwait(false);
                break;
            case ManifestChangeKind.ChangeBdev:
                if (!await host.TryAdjustBdevSourceAsync(Source()).ConfigureAwait(false))
                {
                    await ReplaceAsync(changed, step.Name).ConfigureAwait(false);
                }

                break;
            case ManifestChangeKind.SetBdev:
                Set(step.Name, changed);
                break;
            case ManifestChangeKind.MoveController:
                await host.MoveControllerAsync(Controller()).ConfigureAwait(false);
                break;
            case ManifestChangeKind.SetCoalescing:
                await host.SetCoalescingAsync(Controller()).ConfigureAwait(false);
                break;
            default:
                break;
        }

        _current = changed;
    }

    /// <summary>Removes a source with all that builds on it and adds them again. Guests see their disks go and come.</summary>
    private async Task ReplaceAsync(BoundManifest changed, string name)
    {
        var affected = new List<BoundBdevSource> { changed.Bdevs.Single(source => source.Name == name) };
        foreach (var source in changed.Bdevs)
        {
            if (!affected.Contains(source) && affected.Any(below => SourceOrder.BuildsOn(source, below)))
            {
                affected.Add(source);
            }
        }

        foreach (var source in affected.AsEnumerable().Reverse())
        {
            await host.RemoveBdevSourceAsync(source.Name).ConfigureAwait(false);
        }

        foreach (var source in affected)
        {
            await host.AddBdevSourceAsync(source, CancellationToken.None).ConfigureAwait(false);
        }
    }

    private static int Number(ManifestChange step) => int.Parse(step.Target!, System.Globalization.CultureInfo.InvariantCulture);
}
