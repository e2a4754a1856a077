using System.Buffers;
using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Unicode;
using StreamJsonRpc;
using StreamJsonRpc.Protocol;

namespace Vhost.Host.Rpc;

/// <summary>
/// SPDK's framing on a unix socket: JSON texts back to back without a delimiter, alone or in batches; each reply ends in a newline. Requests of a
/// connection are done one after the other, in their order, so at most one is under way and nothing queues up. What is no request is answered here.
/// </summary>
/// <param name="socket">The connection; the handler disposes it.</param>
/// <param name="limits">What the client may take.</param>
/// <param name="isKnown">Whether there is a method of a name.</param>
internal sealed class RpcMessageHandler(Socket socket, RpcLimits limits, Func<string, bool> isKnown) : MessageHandlerBase(MakeFormatter())
{
    // Replies are read by people too; they are no part of a web page.
    private static readonly JsonSerializerOptions Readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private JsonTextScanner _scanner;
    private byte[] _buffer = new byte[4096];
    private int _count;
    private int _scanned;
    private Queue<JsonElement>? _batch;
    private List<byte[]> _batchReplies = [];
    private long _batchBytes;
    private volatile TaskCompletionSource? _underWay;
    private JsonNode? _id;
    private bool _isNotification;
    private long _idleSince = Stopwatch.GetTimestamp();

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <summary>How long the client has sent nothing and waits for nothing; zero while it does. Any thread.</summary>
    internal TimeSpan IdleTime => Volatile.Read(ref _idleSince) is var since && since == 0 ? TimeSpan.Zero : Stopwatch.GetElapsedTime(since);

    /// <summary>Completes when the request under way, if there is one, is answered. Any thread.</summary>
    internal Task WhenAnsweredAsync() => _underWay?.Task ?? Task.CompletedTask;

    /// <summary>The method of the request under way has returned or failed.</summary>
    /// <param name="failure">How it failed, or null.</param>
    internal async Task OnReturnedAsync(RpcException? failure)
    {
        if (!_isNotification)
        {
            return;
        }

        // Success is not answered; failure is, as SPDK does.
        if (failure is not null)
        {
            await EmitAsync(MakeError(null, failure)).ConfigureAwait(false);
        }

        _underWay?.TrySetResult();
    }

    /// <inheritdoc/>
    protected override async ValueTask<JsonRpcMessage?> ReadCoreAsync(CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                if (_underWay is { } underWay)
                {
                    await underWay.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
                    _underWay = null;
                }

                if (_batch is { } batch)
                {
                    if (!batch.TryDequeue(out var next))
                    {
                        await EndBatchAsync().ConfigureAwait(false);
                        continue;
                    }

                    if (await PrepareAsync(next).ConfigureAwait(false) is { } message)
                    {
                        return message;
                    }

                    continue;
                }

                if (await ReadTextAsync(cancellationToken).ConfigureAwait(false) is not { } text)
                {
                    return null;
                }

                using var document = Utf8.IsValid(text) ? Parse(text) : null;
                if (document is null)
                {
                    await CutOffAsync(new RpcException(RpcException.ParseError, "Parse error", "the text is not valid JSON")).ConfigureAwait(false);
                    return null;
                }

                if (document.RootElement.ValueKind == JsonValueKind.Array && document.RootElement.GetArrayLength() > 0)
                {
                    _batch = new Queue<JsonElement>(document.RootElement.EnumerateArray().Select(element => element.Clone()));
                }
                else if (await PrepareAsync(document.RootElement).ConfigureAwait(false) is { } message)
                {
                    return message;
                }
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The client is gone.
            return null;
        }
    }

    /// <inheritdoc/>
    protected override async ValueTask WriteCoreAsync(JsonRpcMessage content, CancellationToken cancellationToken)
    {
        var reply = new ArrayBufferWriter<byte>(1024);
        Formatter.Serialize(reply, content);
        var bytes = reply.WrittenSpan.ToArray();
        if (bytes.Length > limits.ReplyBytes && content is JsonRpcResult)
        {
            bytes = MakeError(_id?.DeepClone(), RpcException.Failed($"the reply is longer than {limits.ReplyBytes} bytes"));
        }

        try
        {
            await EmitAsync(bytes).ConfigureAwait(false);
        }
        finally
        {
            _underWay?.TrySetResult();
        }
    }

    /// <inheritdoc/>
    protected override ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            socket.Dispose();
            _underWay?.TrySetResult();
        }

        base.Dispose(disposing);
    }

    private static SystemTextJsonFormatter MakeFormatter()
    {
        var formatter = new SystemTextJsonFormatter();
        formatter.JsonSerializerOptions.Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping;
        return formatter;
    }

    private static JsonDocument? Parse(byte[] text)
    {
        try
        {
            return JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = JsonTextScanner.MaxDepth });
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static byte[] MakeError(JsonNode? id, RpcException failure)
    {
        var error = new JsonObject { ["code"] = failure.Code, ["message"] = failure.Message };
        if (failure.Detail is not null)
        {
            error["data"] = failure.Detail;
        }

        return Encoding.UTF8.GetBytes(new JsonObject { ["jsonrpc"] = "2.0", ["id"] = id, ["error"] = error }.ToJsonString(Readable));
    }

    /// <summary>Checks the envelope of a request; answers what is none.</summary>
    /// <returns>The request for its method, or null if it was answered here.</returns>
    private async Task<JsonRpcMessage?> PrepareAsync(JsonElement json)
    {
        JsonNode? id = null;
        string? method = null;
        string? parameters = null;
        string? fault = json.ValueKind == JsonValueKind.Object ? null : "a request is an object";
        var hasVersion = false;
        if (fault is null)
        {
            try
            {
                foreach (var property in json.EnumerateObject())
                {
                    var value = property.Value;
                    switch (property.Name)
                    {
                        case "jsonrpc" when value.ValueKind == JsonValueKind.String && value.ValueEquals("2.0"):
                            hasVersion = true;
                            break;
                        case "method" when value.ValueKind == JsonValueKind.String:
                            method = value.GetString();
                            break;
                        case "params" when value.ValueKind is JsonValueKind.Object or JsonValueKind.Array:
                            parameters = value.GetRawText();
                            break;
                        case "id" when value.ValueKind == JsonValueKind.String || (value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out _)):
                            id = JsonNode.Parse(value.GetRawText());
                            break;
                        case "id" when value.ValueKind == JsonValueKind.Null:
                            break;
                        case "jsonrpc" or "method" or "params" or "id":
                            fault ??= $"\"{property.Name}\" has a value that it cannot have";
                            break;
                        default:
                            fault ??= "a request has jsonrpc, method, params and id, and nothing else";
                            break;
                    }
                }
            }
            catch (InvalidOperationException)
            {
                fault = "a string in it is no text";
            }

            fault ??= !hasVersion ? "\"jsonrpc\" is missing: \"2.0\" is expected" : method is null ? "\"method\" is missing" : null;
        }

        var failure = fault is not null ? new RpcException(RpcException.InvalidRequest, "Invalid request", fault)
            : !isKnown(method!) ? new RpcException(RpcException.MethodNotFound, "Method not found", "rpc_get_methods lists the methods")
            : parameters?[0] == '[' ? RpcException.InvalidParameters("params is an object with named parameters")
            : null;
        if (failure is not null)
        {
            await EmitAsync(MakeError(id, failure)).ConfigureAwait(false);
            return null;
        }

        _id = id;
        _isNotification = id is null;
        _underWay = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var request = $"{{\"jsonrpc\":\"2.0\",{(id is null ? "" : $"\"id\":{id.ToJsonString()},")}\"method\":{JsonValue.Create(method)!.ToJsonString()},\"params\":{parameters ?? "{}"}}}";
        return Formatter.Deserialize(new ReadOnlySequence<byte>(Encoding.UTF8.GetBytes(request)));
    }

    /// <summary>Reads the next JSON text; null at the end, also where the client was cut off.</summary>
    private async Task<byte[]?> ReadTextAsync(CancellationToken cancellationToken)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        while (true)
        {
            var result = _scanner.Scan(_buffer.AsSpan(_scanned, _count - _scanned), out var consumed);
            _scanned += consumed;
            if (result == ScanResult.Complete)
            {
                Volatile.Write(ref _idleSince, 0);
                return TakeText();
            }

            if (result == ScanResult.Invalid)
            {
                await CutOffAsync(new RpcException(RpcException.ParseError, "Parse error", $"a JSON object or array of at most {JsonTextScanner.MaxDepth} levels is expected")).ConfigureAwait(false);
                return null;
            }

            if (!_scanner.IsWithin)
            {
                // Space between texts is not kept.
                (_count, _scanned) = (0, 0);
                Volatile.Write(ref _idleSince, Stopwatch.GetTimestamp());
                patience.CancelAfter(Timeout.InfiniteTimeSpan);
            }
            else if (Volatile.Read(ref _idleSince) != 0)
            {
                Volatile.Write(ref _idleSince, 0);
                patience.CancelAfter(limits.Receive);
            }

            if (_count >= limits.RequestBytes)
            {
                await CutOffAsync(new RpcException(RpcException.InvalidRequest, "Invalid request", $"a request is at most {limits.RequestBytes} bytes long")).ConfigureAwait(false);
                return null;
            }

            if (_count == _buffer.Length)
            {
                Array.Resize(ref _buffer, Math.Min(_buffer.Length * 2, limits.RequestBytes));
            }

            int received;
            try
            {
                received = await socket.ReceiveAsync(_buffer.AsMemory(_count), patience.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                await CutOffAsync(new RpcException(RpcException.InvalidRequest, "Invalid request", $"its end did not come within {limits.Receive.TotalSeconds:0} s")).ConfigureAwait(false);
                return null;
            }

            if (received == 0)
            {
                return null;
            }

            _count += received;
        }
    }

    private byte[] TakeText()
    {
        var text = _buffer.AsSpan(0, _scanned).ToArray();
        var rest = _buffer.AsSpan(_scanned, _count - _scanned);
        rest.CopyTo(_buffer);
        (_count, _scanned) = (rest.Length, 0);
        _scanner = default;
        if (_buffer.Length > 1 << 16 && _count <= 4096)
        {
            // A client that once sent much does not hold on to it.
            Array.Resize(ref _buffer, 4096);
        }

        return text;
    }

    private async Task EmitAsync(byte[] reply)
    {
        if (_batch is null)
        {
            await SendAsync([.. reply, (byte)'\n']).ConfigureAwait(false);
            return;
        }

        _batchBytes += reply.Length;
        if (_batchBytes > limits.ReplyBytes)
        {
            throw new SocketException((int)SocketError.MessageSize);
        }

        _batchReplies.Add(reply);
    }

    private async Task EndBatchAsync()
    {
        var replies = _batchReplies;
        (_batch, _batchReplies, _batchBytes) = (null, [], 0);
        if (replies.Count > 0)
        {
            using var joined = new MemoryStream();
            for (var i = 0; i < replies.Count; i++)
            {
                joined.WriteByte((byte)(i == 0 ? '[' : ','));
                joined.Write(replies[i]);
            }

            joined.Write("]\n"u8);
            await SendAsync(joined.ToArray()).ConfigureAwait(false);
        }
    }

    /// <summary>Sends; a client that does not read is cut off.</summary>
    private async Task SendAsync(byte[] reply)
    {
        using var patience = new CancellationTokenSource(limits.Send);
        try
        {
            for (var sent = 0; sent < reply.Length;)
            {
                sent += await socket.SendAsync(reply.AsMemory(sent), patience.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            socket.Dispose();
            throw new SocketException((int)SocketError.TimedOut);
        }
    }

    /// <summary>Says why, and lets go of a client whose requests cannot be told apart any more.</summary>
    private async Task CutOffAsync(RpcException failure)
    {
        await EmitAsync(MakeError(null, failure)).ConfigureAwait(false);
        socket.Shutdown(SocketShutdown.Send);
        // What it has sent is read away for a moment: closing at once would take the reply from it.
        using var patience = new CancellationTokenSource(limits.Linger);
        try
        {
            while (await socket.ReceiveAsync(_buffer, patience.Token).ConfigureAwait(false) > 0)
            {
            }
        }
        catch (OperationCanceledException)
        {
            // It goes on sending; it had its time.
        }
    }
}
