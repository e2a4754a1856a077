using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;

namespace Vhost.Host.Observability;

/// <summary>An answer.</summary>
/// <param name="Status">The status code.</param>
/// <param name="ContentType">What the body is.</param>
/// <param name="Body">The body.</param>
internal readonly record struct HttpReply(int Status, string ContentType, ReadOnlyMemory<byte> Body)
{
    /// <summary>A JSON body.</summary>
    internal static HttpReply Json(int status, JsonNode body) => new(status, "application/json", Encoding.UTF8.GetBytes(body.ToJsonString()));

    /// <summary>An error, named.</summary>
    internal static HttpReply Error(int status, string reason) => Json(status, new JsonObject { ["error"] = reason });
}

/// <summary>
/// A small HTTP server for this machine alone, on the runtime's own HttpListener: no second framework is loaded into a process whose start and memory are
/// bounded. Requests for another host's name are refused, so that no web page elsewhere can reach it by a name of its own.
/// </summary>
internal sealed class HttpService : IAsyncDisposable
{
    private const int MaxRequestsAtOnce = 32;

    // A client that does not send its request's rest, or does not read the answer, loses its place.
    private static readonly TimeSpan RequestLimit = TimeSpan.FromSeconds(5);

    private readonly HttpListener _listener = new();
    private readonly Func<HttpListenerRequest, CancellationToken, Task<HttpReply>> _answer;
    private readonly Action<HttpListenerResponse> _addHeaders;
    private readonly string[] _hosts;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stopping = new();
    private readonly SemaphoreSlim _places = new(MaxRequestsAtOnce);
    private readonly Task _accepting;

    /// <summary>Begins to listen.</summary>
    /// <param name="endPoint">Where: an address of this machine.</param>
    /// <param name="paths">The paths that are served, each with what is below it; empty for all.</param>
    /// <param name="answer">Answers a request.</param>
    /// <param name="addHeaders">Adds headers to each answer.</param>
    /// <param name="what">What is served, for messages.</param>
    /// <param name="logger">The log.</param>
    /// <exception cref="IOException">It cannot be listened on.</exception>
    internal HttpService(
        IPEndPoint endPoint,
        IReadOnlyList<string> paths,
        Func<HttpListenerRequest, CancellationToken, Task<HttpReply>> answer,
        Action<HttpListenerResponse> addHeaders,
        string what,
        ILogger logger)
    {
        _answer = answer;
        _addHeaders = addHeaders;
        _logger = logger;
        _hosts = [endPoint.ToString(), $"localhost:{endPoint.Port}"];
        foreach (var path in paths.DefaultIfEmpty(""))
        {
            _listener.Prefixes.Add($"http://{endPoint}{path}/");
            _listener.Prefixes.Add($"http://localhost:{endPoint.Port}{path}/");
        }

        try
        {
            _listener.Start();
        }
        catch (Exception exception) when (exception is HttpListenerException or System.Net.Sockets.SocketException)
        {
            ((IDisposable)_listener).Dispose();
            throw new IOException($"{what} cannot be served at {endPoint}: {exception.Message}; choose another port", exception);
        }

        _accepting = AcceptAsync();
        logger.LogInformation(HostEvents.EndpointServed, "serving {What} at http://{EndPoint}", what, endPoint);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        _listener.Abort();
        await _accepting.ConfigureAwait(false);
    }

    private async Task AcceptAsync()
    {
        while (!_stopping.IsCancellationRequested)
        {
            HttpListenerContext context;
            try
            {
                await _places.WaitAsync(_stopping.Token).ConfigureAwait(false);
                context = await _listener.GetContextAsync().ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is HttpListenerException or ObjectDisposedException or OperationCanceledException or InvalidOperationException)
            {
                if (_stopping.IsCancellationRequested || !_listener.IsListening)
                {
                    return;
                }

                _places.Release();
                continue;
            }

            _ = ServeAsync(context);
        }
    }

    private async Task ServeAsync(HttpListenerContext context)
    {
        var response = context.Response;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stopping.Token);
        limit.CancelAfter(RequestLimit);
        try
        {
            // The first of the checks: a name that an attacker's DNS points here is not one of ours.
            var reply = _hosts.Contains(context.Request.UserHostName, StringComparer.OrdinalIgnoreCase)
                ? await _answer(context.Request, limit.Token).WaitAsync(limit.Token).ConfigureAwait(false)
                : HttpReply.Error(421, $"this is {_hosts[0]}");
            response.StatusCode = reply.Status;
            response.ContentType = reply.ContentType;
            response.Headers["Cache-Control"] = "no-store";
            response.Headers["X-Content-Type-Options"] = "nosniff";
            response.Headers["Server"] = "vhostd";
            _addHeaders(response);
            response.ContentLength64 = reply.Body.Length;
            if (context.Request.HttpMethod != "HEAD")
            {
                await response.OutputStream.WriteAsync(reply.Body, limit.Token).AsTask().WaitAsync(limit.Token).ConfigureAwait(false);
            }

            response.Close();
        }
        catch (Exception exception) when (exception is HttpListenerException or IOException or ObjectDisposedException or OperationCanceledException)
        {
            response.Abort();
        }
        catch (Exception exception)
        {
            _logger.LogError(HostEvents.EndpointFault, exception, "a request to {Path} failed", context.Request.Url?.AbsolutePath);
            response.Abort();
        }
        finally
        {
            _places.Release();
        }
    }
}
