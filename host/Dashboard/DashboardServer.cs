using System.Net;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Vhost.Host.Observability;
using Vhost.Host.Rpc;
using Vhost.Host.Wiring;

namespace Vhost.Host.Dashboard;

/// <summary>
/// The dashboard: one page that needs nothing from elsewhere, and the few calls that it makes. Whoever has the token may look; whether something may be changed is
/// said at the start. A token in a header, and no cookie: no other page can make a browser send it.
/// </summary>
internal sealed class DashboardServer : IAsyncDisposable
{
    private const int MaxBodyBytes = 16384;

    private const string Policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    /// <summary>What the page may call, of the methods that there are.</summary>
    private static readonly string[] Actions =
    [
        "bdev_malloc_create", "bdev_null_create", "bdev_aio_create", "delete_bdev", "bdev_malloc_resize", "bdev_null_resize", "bdev_aio_resize", "bdev_set_qos_limit",
        "vhost_create_scsi_controller", "vhost_create_blk_controller", "vhost_scsi_controller_add_target", "vhost_scsi_controller_remove_target", "vhost_delete_controller",
        "vhostd_set_histograms", "vhostd_set_trace",
    ];

    private static readonly Dictionary<string, (string Resource, string Type)> Files = new(StringComparer.Ordinal)
    {
        ["/"] = ("index.html", "text/html; charset=utf-8"),
        ["/app.js"] = ("app.js", "text/javascript; charset=utf-8"),
        ["/app.css"] = ("app.css", "text/css; charset=utf-8"),
        ["/icon.svg"] = ("icon.svg", "image/svg+xml"),
    };

    private readonly VhostHost _host;
    private readonly RpcSurface _surface;
    private readonly EventLog _events;
    private readonly bool _allowsActions;
    private readonly byte[] _tokenHash;
    private readonly string[] _origins;
    private readonly ILogger _logger;
    private readonly HttpService _http;

    /// <summary>Begins to serve.</summary>
    /// <param name="observe">Where, and what is allowed.</param>
    /// <param name="token">The token.</param>
    /// <param name="host">The host.</param>
    /// <param name="surface">Does what is asked.</param>
    /// <param name="events">What was logged.</param>
    /// <param name="logger">The log.</param>
    /// <exception cref="IOException">The address cannot be listened on.</exception>
    internal DashboardServer(BoundObserve observe, string token, VhostHost host, RpcSurface surface, EventLog events, ILogger logger)
    {
        _host = host;
        _surface = surface;
        _events = events;
        _allowsActions = observe.AllowsActions;
        _tokenHash = SHA256.HashData(Encoding.UTF8.GetBytes(token));
        _logger = logger;
        var endPoint = observe.Dashboard!;
        _origins = [$"http://{endPoint}", $"http://localhost:{endPoint.Port}"];
        _http = new HttpService(endPoint, [], AnswerAsync, AddHeaders, "the dashboard", logger);
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _http.DisposeAsync();

    private static void AddHeaders(HttpListenerResponse response)
    {
        response.Headers["Content-Security-Policy"] = Policy;
        response.Headers["Referrer-Policy"] = "no-referrer";
        response.Headers["X-Frame-Options"] = "DENY";
        response.Headers["Cross-Origin-Opener-Policy"] = "same-origin";
        response.Headers["Cross-Origin-Resource-Policy"] = "same-origin";
    }

    private async Task<HttpReply> AnswerAsync(HttpListenerRequest request, CancellationToken cancellationToken)
    {
        var path = request.Url!.AbsolutePath;
        if (request.HttpMethod is "GET" or "HEAD" && Files.TryGetValue(path, out var file))
        {
            return new HttpReply(200, file.Type, await ReadAsync(file.Resource, cancellationToken).ConfigureAwait(false));
        }

        if (!path.StartsWith("/api/", StringComparison.Ordinal))
        {
            return HttpReply.Error(404, "there is no such page");
        }

        // A page of another origin is refused whatever it knows.
        if (request.Headers["Origin"] is { } origin && !_origins.Contains(origin, StringComparer.OrdinalIgnoreCase))
        {
            return HttpReply.Error(403, "this is for the dashboard's own page");
        }

        if (!IsAuthorized(request))
        {
            _logger.LogWarning(HostEvents.TokenRefused, "the dashboard refused a request without the right token");
            return HttpReply.Error(401, "the token is missing or not the right one");
        }

        return (request.HttpMethod, path) switch
        {
            ("GET", "/api/status") => GetStatus(request),
            ("GET", "/api/trace") => await CallAsync(
                "vhostd_get_trace",
                JsonSerializer.SerializeToElement(new Dictionary<string, string> { ["ctrlr"] = request.QueryString["controller"] ?? "" })).ConfigureAwait(false),
            ("POST", "/api/actions") => await ActAsync(request, cancellationToken).ConfigureAwait(false),
            _ => HttpReply.Error(404, "there is no such call"),
        };
    }

    private static async Task<ReadOnlyMemory<byte>> ReadAsync(string resource, CancellationToken cancellationToken)
    {
        var stream = Assembly.GetExecutingAssembly().GetManifestResourceStream($"dashboard/{resource}") ?? throw new InvalidOperationException($"{resource} is not in this program");
        await using var closing = stream.ConfigureAwait(false);
        using var content = new MemoryStream();
        await stream.CopyToAsync(content, cancellationToken).ConfigureAwait(false);
        return content.ToArray();
    }

    private bool IsAuthorized(HttpListenerRequest request) =>
        request.Headers["Authorization"] is { } header && header.StartsWith("Bearer ", StringComparison.Ordinal)
        && CryptographicOperations.FixedTimeEquals(SHA256.HashData(Encoding.UTF8.GetBytes(header["Bearer ".Length..])), _tokenHash);

    private HttpReply GetStatus(HttpListenerRequest request)
    {
        _ = long.TryParse(request.QueryString["events_after"], out var after);
        return HttpReply.Json(200, new JsonObject
        {
            ["actions"] = _allowsActions,
            ["methods"] = _allowsActions ? new JsonArray([.. Actions.Where(name => _surface.Find(name) is not null).Select(name => JsonValue.Create(name))]) : [],
            ["status"] = StatusReport.Make(_host.GetStatus()),
            ["events"] = _events.GetSince(after),
        });
    }

    private async Task<HttpReply> ActAsync(HttpListenerRequest request, CancellationToken cancellationToken)
    {
        if (!_allowsActions)
        {
            return HttpReply.Error(403, "this dashboard only shows; vhostd was started without --dashboard-actions");
        }

        // A form of another page cannot have this type.
        if (request.ContentType?.StartsWith("application/json", StringComparison.Ordinal) != true || request.ContentLength64 is < 0 or > MaxBodyBytes)
        {
            return HttpReply.Error(400, $"a JSON body of up to {MaxBodyBytes} bytes is expected");
        }

        JsonElement call;
        try
        {
            var body = new byte[request.ContentLength64];
            await request.InputStream.ReadExactlyAsync(body, cancellationToken).ConfigureAwait(false);
            call = JsonSerializer.Deserialize<JsonElement>(body);
        }
        catch (Exception exception) when (exception is JsonException or EndOfStreamException)
        {
            return HttpReply.Error(400, "the body is no JSON");
        }

        if (call.ValueKind != JsonValueKind.Object || !call.TryGetProperty("method", out var name) || name.ValueKind != JsonValueKind.String || !Actions.Contains(name.GetString()))
        {
            return HttpReply.Error(400, "there is no such action");
        }

        _logger.LogInformation(HostEvents.DashboardAction, "the dashboard calls {Method} {Parameters}", name.GetString(), call.TryGetProperty("params", out var shown) ? shown.ToString() : "");
        return await CallAsync(name.GetString()!, call.TryGetProperty("params", out var parameters) ? parameters : default).ConfigureAwait(false);
    }

    private async Task<HttpReply> CallAsync(string name, JsonElement parameters)
    {
        if (_surface.Find(name) is not { } method)
        {
            return HttpReply.Error(400, "there is no such action");
        }

        try
        {
            return HttpReply.Json(200, new JsonObject { ["result"] = await method.Invoke(RpcArguments.Decode(method, parameters)).ConfigureAwait(false) });
        }
        catch (RpcException exception)
        {
            return HttpReply.Error(422, exception.Detail is { } detail ? $"{exception.Message}: {detail}" : exception.Message);
        }
    }
}
