using System.CommandLine;
using System.Text.Json.Nodes;
using Vhost.Host.Manifest;

namespace Vhost.Host.Cli;

/// <summary>
/// The start without a manifest, with the options of SPDK's vhost: an empty graph that is filled by RPC.
/// Controllers come to sockets in the directory of <c>-S</c>, or to the vvu device of <c>-S</c>.
/// </summary>
internal sealed class SpdkStart
{
    private const string UnixTransport = "unix";
    private const string VvuTransport = "vvu";
    private const string DefaultDirectory = "/var/tmp";

    private readonly Option<string?> _place = new("-S")
    {
        Description = "With -T unix: the directory of the controllers' sockets (default /var/tmp). With -T vvu: the PCI address of the vvu device.",
        HelpName = "DIR|ADDRESS",
    };

    private readonly Option<string?> _transport = new("-T") { Description = "What connects controllers that are created by RPC to guests: unix (default) or vvu.", HelpName = "unix|vvu" };
    private readonly Option<string?> _cpumask = new("-m") { Description = "CPUs of the reactors: 0x3 or [0,2-3]. Default: the first CPU that this process may use.", HelpName = "CPUMASK" };

    private readonly Option<string?> _socket = new("-r")
    {
        Description = $"The RPC socket. Default: {RpcCommand.DefaultSocket}.",
        HelpName = "SOCKET",
    };

    private readonly Option<int?> _memory = new("-s") { Description = "Accepted and not used: vhostd reserves no memory in advance.", HelpName = "MIB" };
    private readonly ServeOptions _serve;

    /// <summary>Makes the options.</summary>
    /// <param name="serve">The options that every start has.</param>
    internal SpdkStart(ServeOptions serve)
    {
        _transport.AcceptOnlyFromAmong(UnixTransport, VvuTransport);
        _serve = serve;
    }

    /// <summary>Adds the options and the action to the root command.</summary>
    /// <param name="root">The root command.</param>
    internal void AddTo(RootCommand root)
    {
        foreach (Option option in (IEnumerable<Option>)[_place, _transport, _cpumask, _socket, _memory, .. _serve.All])
        {
            root.Options.Add(option);
        }

        root.SetAction(StartAsync);
    }

    /// <summary>Names the first option of the start, given before a command that does not know it; null if there is none.</summary>
    /// <param name="parsed">A command line with a command.</param>
    internal string? FindMisplaced(ParseResult parsed) =>
        parsed.RootCommandResult.Children.OfType<System.CommandLine.Parsing.OptionResult>()
            .FirstOrDefault(result => !result.Implicit && (Own.Contains(result.Option) || _serve.All.Contains(result.Option)))?.Option.Name;

    private IEnumerable<Option> Own => [_place, _transport, _cpumask, _socket, _memory];

    private async Task<int> StartAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var output = new Output(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
        if (!Own.Any(option => parsed.GetResult(option) is { Implicit: false }))
        {
            output.Error("error: a command is expected, or the options of SPDK's vhost (-S DIR -m 0x1); \"vhostd --help\" shows both");
            return ExitCode.Usage;
        }

        string? place = parsed.GetValue(_place);
        bool isVvu = parsed.GetValue(_transport) == VvuTransport;
        if (isVvu && place is null)
        {
            output.Error("error: -T vvu needs -S with the PCI address of the vvu device (\"vhostd pci list\" shows it)");
            return ExitCode.Usage;
        }

        if (!isVvu && !Directory.Exists(place ?? DefaultDirectory))
        {
            output.Error($"error: -S {place}: there is no such directory{(Pci.PciAddress.TryParse(place ?? "", out _) ? "; for a vvu device add -T vvu" : "")}");
            return ExitCode.Usage;
        }

        var manifest = new JsonObject
        {
            [ManifestSections.RpcKey] = new JsonObject
            {
                ["socket"] = parsed.GetValue(_socket) ?? RpcCommand.DefaultSocket,
                [ManifestSections.DefaultTransportKey] = isVvu
                    ? new JsonObject { [ManifestSections.TypeKey] = VvuTransport, ["address"] = place }
                    : new JsonObject
                    {
                        [ManifestSections.TypeKey] = "vhost-user",
                        ["socket"] = Path.Combine(Path.GetFullPath(place ?? DefaultDirectory), ManifestSections.ControllerPlaceholder),
                    },
            },
        };
        if (parsed.GetValue(_cpumask) is { } mask)
        {
            manifest["reactors"] = new JsonObject { [ManifestSections.CpumaskKey] = mask };
        }

        return await _serve.ServeAsync(parsed, new ManifestRequest("command line") { Content = manifest }, [], cancellationToken).ConfigureAwait(false);
    }
}
