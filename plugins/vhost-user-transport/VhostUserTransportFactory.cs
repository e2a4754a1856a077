using System.Text;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>Makes vhost-user transports from the manifest.</summary>
[ExportTransport("vhost-user")]
public sealed class VhostUserTransportFactory : TransportFactory<VhostUserTransportOptions>
{
    private const int MaxMode = 0x1ff; // 0777

    /// <inheritdoc/>
    public override string Description => "A vhost-user server on a unix socket, for the VMs of this machine.";

    /// <summary>The permission bits of an octal text, or null if it is none.</summary>
    internal static UnixFileMode? ParseMode(string text)
    {
        if (text.Length is 0 or > 5 || text.Any(digit => digit is < '0' or > '7'))
        {
            return null;
        }

        var mode = Convert.ToInt32(text, 8);
        return mode <= MaxMode ? (UnixFileMode)mode : null;
    }

    /// <inheritdoc/>
    protected override void Validate(VhostUserTransportOptions options, IOptionsErrors errors)
    {
        if (string.IsNullOrEmpty(options.Socket))
        {
            errors.Add("socket", "the path of the unix socket is missing, for example /run/vhostd/vhost.0");
        }
        else if (options.Socket.Contains('\0'))
        {
            errors.Add("socket", "the path contains a NUL character");
        }
        else if (Encoding.UTF8.GetByteCount(options.Socket) > UnixSocket.MaxPathBytes)
        {
            errors.Add(
                "socket",
                $"the path has {Encoding.UTF8.GetByteCount(options.Socket)} bytes, more than the {UnixSocket.MaxPathBytes} that a unix socket allows; use a shorter directory");
        }

        if (ParseMode(options.Mode) is null)
        {
            errors.Add("mode", $"'{options.Mode}' is no octal permission such as 0600 or 0660");
        }
    }

    /// <inheritdoc/>
    protected override string GetEndpoint(VhostUserTransportOptions options) => Path.GetFullPath(options.Socket);

    /// <inheritdoc/>
    protected override ITransport Create(TransportContext context, VhostUserTransportOptions options) => new VhostUserTransport(context, options);
}
