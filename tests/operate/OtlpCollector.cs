using System.Collections.Concurrent;
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace Vhost.Operate.Tests;

/// <summary>
/// An OpenTelemetry collector for metrics on loopback: gRPC's unary Export over HTTP/2 without TLS, or a POST of protobuf. It can be told to answer errors, or nothing.
/// </summary>
internal sealed class OtlpCollector : IAsyncDisposable
{
    /// <summary>Where a gRPC client posts: package, service and method of the protocol's definition.</summary>
    private const string GrpcPath = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

    private const string HttpPath = "/v1/metrics";

    private readonly WebApplication _application;
    private readonly bool _isGrpc;
    private readonly ConcurrentQueue<OtlpMetrics> _received = new();
    private readonly ConcurrentQueue<string> _faults = new();
    private int _requests;

    private OtlpCollector(WebApplication application, bool isGrpc)
    {
        _application = application;
        _isGrpc = isGrpc;
    }

    /// <summary>How it answers.</summary>
    internal enum Answer
    {
        Accept,
        Error,
        Never,
    }

    /// <summary>How the next requests are answered.</summary>
    public Answer Mode { get; set; }

    /// <summary>How many requests came, whatever they were answered.</summary>
    public int Requests => Volatile.Read(ref _requests);

    /// <summary>What came and was accepted, oldest first.</summary>
    public IReadOnlyCollection<OtlpMetrics> Received => _received;

    /// <summary>Requests that were no such requests.</summary>
    public IReadOnlyCollection<string> Faults => _faults;

    public static async Task<OtlpCollector> StartAsync(int port, bool isGrpc, Answer mode = Answer.Accept)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, port, listen => listen.Protocols = isGrpc ? HttpProtocols.Http2 : HttpProtocols.Http1));
        var collector = new OtlpCollector(builder.Build(), isGrpc) { Mode = mode };
        collector._application.Run(collector.AnswerAsync);
        await collector._application.StartAsync();
        return collector;
    }

    /// <summary>Waits for a batch that something holds for.</summary>
    public async Task<OtlpMetrics> WaitForAsync(Func<OtlpMetrics, bool> condition, string what)
    {
        OtlpMetrics? found = null;
        await Vhostd.WaitForAsync(() => Task.FromResult((found = _received.LastOrDefault(condition)) is not null), what);
        return found!;
    }

    public async ValueTask DisposeAsync()
    {
        // A request that is never answered waits for nobody.
        using var now = new CancellationTokenSource(TimeSpan.Zero);
        await _application.StopAsync(now.Token);
        await _application.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        Interlocked.Increment(ref _requests);
        if (Mode == Answer.Never)
        {
            await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(static _ => { }, TaskScheduler.Default);
            return;
        }

        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted);
        var bytes = body.ToArray();
        var (path, type) = _isGrpc ? (GrpcPath, "application/grpc") : (HttpPath, "application/x-protobuf");
        if (context.Request.Method != "POST" || context.Request.Path != path || context.Request.ContentType != type || (_isGrpc && context.Request.Protocol != "HTTP/2"))
        {
            _faults.Enqueue($"{context.Request.Protocol} {context.Request.Method} {context.Request.Path} {context.Request.ContentType}");
            context.Response.StatusCode = 400;
            return;
        }

        bool isAccepted = Mode == Answer.Accept;
        if (isAccepted)
        {
            // A gRPC message follows a byte that tells of compression and four of its length.
            _received.Enqueue(OtlpMetrics.Parse(_isGrpc ? Unframe(bytes) : bytes));
        }

        context.Response.ContentType = type;
        if (_isGrpc)
        {
            context.Response.DeclareTrailer("grpc-status");
            if (isAccepted)
            {
                await context.Response.Body.WriteAsync(new byte[5]);
            }

            context.Response.AppendTrailer("grpc-status", isAccepted ? "0" : "14");
            return;
        }

        context.Response.StatusCode = isAccepted ? 200 : 503;
    }

    private static byte[] Unframe(byte[] bytes)
    {
        Assert.Equal(0, bytes[0]);
        Assert.Equal(bytes.Length - 5, System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(1)));
        return bytes[5..];
    }
}
