using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Host.Manifest;

namespace Vhost.Host.Rpc;

/// <content>Controllers and their targets.</content>
internal sealed partial class LiveGraph
{
    /// <summary>The controller type that has targets.</summary>
    internal const string ScsiType = "scsi";

    /// <summary>The key of a controller's section that holds its targets.</summary>
    internal const string TargetsKey = "targets";

    /// <summary>How the state of a transport with a front-end begins.</summary>
    private const string ConnectedState = "connected";

    // Whether the running manifest names CPUs of reactors that nobody named, because a controller is on some of them.
    private bool _hasNamedReactors;

    // Made with delay, not started yet: their sections.
    private readonly ConcurrentDictionary<string, JsonObject> _delayed = new(StringComparer.Ordinal);

    /// <summary>Controllers that were made with delay, with where each will be reached.</summary>
    internal IReadOnlyList<(string Name, string Endpoint)> GetDelayed() =>
        [.. _delayed.Keys.Order(StringComparer.Ordinal).Select(name => (name, Preview(name).Transports.Single(transport => transport.Name == name).Endpoint))];

    /// <summary>Makes a controller behind the default transport.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="section">Its section of the manifest, without transport.</param>
    /// <param name="isDelayed">Whether guests are let in only by <see cref="StartDelayedAsync"/>.</param>
    internal async Task AddControllerAsync(string name, JsonObject section, bool isDelayed)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            if (FindControllerType(name) is not null)
            {
                throw RpcException.FileExists($"there is a controller \"{name}\" already");
            }

            section[ManifestSections.TransportKey] = name;
            CheckEndpoint(name, section);
            if (isDelayed)
            {
                _delayed[name] = section;
                return;
            }

            await StartControllerAsync(name, section).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Lets guests in to a controller that was made with delay.</summary>
    /// <param name="name">Its name.</param>
    internal async Task StartDelayedAsync(string name)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            if (FindDelayed(name) is not { } section)
            {
                throw FindControllerType(name) is null ? NoController(name) : RpcException.FileExists($"the controller \"{name}\" is started already");
            }

            await StartControllerAsync(name, section).ConfigureAwait(false);
            _delayed.TryRemove(name, out _);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Removes a controller that has neither targets nor a front-end, and its transport.</summary>
    /// <param name="name">Its name.</param>
    internal async Task RemoveControllerAsync(string name)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            if (FindControllerType(name) is null)
            {
                throw NoController(name);
            }

            if (GetTargets(name) is { Count: > 0 } targets)
            {
                throw RpcException.Busy($"the controller \"{name}\" has targets: {string.Join(", ", targets.Select(target => target.Key))}; remove them first");
            }

            if (_delayed.TryRemove(name, out _))
            {
                return;
            }

            if (host.GetStatus().Controllers.FirstOrDefault(controller => controller.Name == name) is { } status
                && status.TransportState.StartsWith(ConnectedState, StringComparison.Ordinal))
            {
                throw RpcException.Busy($"a front-end uses the controller \"{name}\": {status.TransportState}; disconnect it first");
            }

            var changed = Change(
                root =>
                {
                    var controllers = SectionOf(root, ControllersKey);
                    SectionOf(root, TransportsKey).Remove(controllers[name]![ManifestSections.TransportKey]!.GetValue<string>());
                    controllers.Remove(name);
                },
                RpcException.Busy);
            await host.RemoveControllerAsync(name).ConfigureAwait(false);
            _current = changed;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Adds a target to a controller.</summary>
    /// <param name="controllerName">The controller.</param>
    /// <param name="number">The target, or -1 for the first that is free.</param>
    /// <param name="bdevName">Its bdev.</param>
    /// <returns>The target's number.</returns>
    internal async Task<int> AddTargetAsync(string controllerName, int number, string bdevName)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            CheckHasTargets(controllerName);
            var targets = GetTargets(controllerName);
            if (number == -1)
            {
                number = Enumerable.Range(0, targets.Count + 1).First(free => targets.All(target => target.Key != free));
            }

            if (targets.Any(target => target.Key == number))
            {
                throw RpcException.FileExists($"the controller \"{controllerName}\" has a target {number} already");
            }

            void Add(JsonObject section) => SectionOf(section, TargetsKey)[Text(number)] = bdevName;
            if (FindDelayed(controllerName) is { } delayed)
            {
                var section = delayed.DeepClone().AsObject();
                Add(section);
                PreviewSection(controllerName, section);
                _delayed[controllerName] = section;
                return number;
            }

            var changed = Change(root => Add(root[ControllersKey]![controllerName]!.AsObject()), RpcException.InvalidArgument);
            await StartAsync(host.AddTargetAsync(changed.Controllers.Single(controller => controller.Name == controllerName), number, bdevName)).ConfigureAwait(false);
            _current = changed;
            return number;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Removes a target of a controller. Completes when its bdev is not used any more.</summary>
    /// <param name="controllerName">The controller.</param>
    /// <param name="number">The target.</param>
    internal async Task RemoveTargetAsync(string controllerName, int number)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            CheckHasTargets(controllerName);
            if (GetTargets(controllerName).All(target => target.Key != number))
            {
                throw RpcException.NoSuchDevice($"the controller \"{controllerName}\" has no target {number}");
            }

            if (FindDelayed(controllerName) is { } delayed)
            {
                var section = delayed.DeepClone().AsObject();
                SectionOf(section, TargetsKey).Remove(Text(number));
                _delayed[controllerName] = section;
                return;
            }

            await RemoveTargetInTurnAsync(controllerName, number).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static RpcException NoController(string name) => RpcException.NoSuchDevice($"there is no controller \"{name}\"");

    private static IReadOnlyList<KeyValuePair<int, string>> TargetsOf(JsonObject? section) =>
        section?[ManifestSections.TypeKey]?.GetValue<string>() == ScsiType && section[TargetsKey] is JsonObject targets
            ? [.. targets.Select(target => KeyValuePair.Create(int.Parse(target.Key, CultureInfo.InvariantCulture), target.Value!.GetValue<string>())).OrderBy(target => target.Key)]
            : [];

    private JsonObject? FindDelayed(string name) => _delayed.GetValueOrDefault(name);

    private void CheckHasTargets(string controllerName)
    {
        var type = FindControllerType(controllerName) ?? throw NoController(controllerName);
        if (type != ScsiType)
        {
            throw RpcException.InvalidArgument($"the controller \"{controllerName}\" is of type {type}, which has no targets");
        }
    }

    private async Task RemoveTargetInTurnAsync(string controllerName, int number)
    {
        var changed = Change(root => root[ControllersKey]![controllerName]![TargetsKey]!.AsObject().Remove(Text(number)), RpcException.InvalidArgument);
        // From here on the guest sees it no more, also where its requests hang.
        _current = changed;
        try
        {
            await host.RemoveTargetAsync(changed.Controllers.Single(controller => controller.Name == controllerName), number).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is TimeoutException or InvalidOperationException)
        {
            throw RpcException.Busy(exception.Message);
        }
    }

    private async Task StartControllerAsync(string name, JsonObject section)
    {
        var changed = PreviewSection(name, section);
        await StartAsync(host.AddControllerAsync(
            changed.Controllers.Single(controller => controller.Name == name),
            changed.Transports.Single(transport => transport.Name == name),
            CancellationToken.None)).ConfigureAwait(false);
        _current = changed;
    }

    private BoundManifest Preview(string delayedName) => PreviewSection(delayedName, _delayed[delayedName]);

    /// <summary>The manifest with a controller and its transport in addition.</summary>
    private BoundManifest PreviewSection(string name, JsonObject section) => Change(
        root =>
        {
            SectionOf(root, ControllersKey)[name] = section.DeepClone();
            SectionOf(root, TransportsKey)[name] = MakeTransport(name);
            NameReactors(root);
        },
        RpcException.InvalidArgument);

    /// <summary>A controller's CPUs are some of the reactors', which a manifest may leave to chance.</summary>
    private void NameReactors(JsonObject root)
    {
        if (root["reactors"]?[ManifestSections.CpumaskKey] is null
            && root[ControllersKey] is JsonObject controllers && controllers.Any(controller => controller.Value is JsonObject section && section.ContainsKey(ManifestSections.CpumaskKey)))
        {
            _hasNamedReactors = true;
            SectionOf(root, "reactors")[ManifestSections.CpumaskKey] = $"[{string.Join(',', host.GetStatus().Reactors.Select(reactor => reactor.CpuIndex))}]";
        }
    }

    /// <summary>Refuses a controller at a place that another one occupies: a device serves one controller.</summary>
    private void CheckEndpoint(string name, JsonObject section)
    {
        var template = MakeTransport(name);
        var isOfItsOwn = _current.Rpc.DefaultTransport!.ToJsonString().Contains(ManifestSections.ControllerPlaceholder, StringComparison.Ordinal);
        var taken = isOfItsOwn ? null : _current.Root[TransportsKey]?.AsObject().FirstOrDefault(transport => JsonNode.DeepEquals(transport.Value, template)).Key
            ?? _delayed.Keys.FirstOrDefault();
        if (taken is not null)
        {
            throw RpcException.Busy($"\"{taken}\" occupies the one place that rpc.{ManifestSections.DefaultTransportKey} (with -T vvu: -S) names; delete that first, or give the manifest a transport and a controller of their own. The path of a socket may have {ManifestSections.ControllerPlaceholder} in it, so that each controller has its own");
        }

        PreviewSection(name, section);
    }

    private JsonObject MakeTransport(string controllerName)
    {
        var template = _current.Rpc.DefaultTransport ?? throw new RpcException(
            RpcException.InvalidParams,
            "No transport for controllers that are created by RPC: set rpc.defaultTransport in the manifest, "
            + "for example { \"type\": \"vhost-user\", \"socket\": \"/var/tmp/{controller}\" }");
        var section = template.DeepClone().AsObject();
        foreach (var (key, value) in section.ToArray())
        {
            if (value?.GetValueKind() == JsonValueKind.String)
            {
                section[key] = value.GetValue<string>().Replace(ManifestSections.ControllerPlaceholder, controllerName, StringComparison.Ordinal);
            }
        }

        return section;
    }
}
