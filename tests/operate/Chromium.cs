using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json.Nodes;

namespace Vhost.Operate.Tests;

/// <summary>A real, headless Chromium with one page, driven by its DevTools protocol.</summary>
internal sealed class Chromium : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    private readonly Process _process;
    private readonly string _directory;
    private readonly ClientWebSocket _socket = new();
    private readonly ConcurrentDictionary<int, TaskCompletionSource<JsonNode>> _calls = new();
    private readonly CancellationTokenSource _stop = new();
    private Task _reading = Task.CompletedTask;
    private int _lastId;

    private Chromium(Process process, string directory)
    {
        _process = process;
        _directory = directory;
    }

    /// <summary>What the page asked for.</summary>
    public ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>What went wrong in it: exceptions, refused resources, errors in its log.</summary>
    public ConcurrentQueue<string> Faults { get; } = new();

    public static async Task<Chromium> StartAsync()
    {
        var program = ((string[])["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]).FirstOrDefault(File.Exists);
        Assert.True(program is not null, "there is no Chromium; tests/setup/install.sh installs it");
        var directory = Directory.CreateTempSubdirectory("vhostd-chromium-").FullName;
        // No sandbox of its own: tests run as root, and the only page is ours.
        var process = Process.Start(new ProcessStartInfo(
            program,
            [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0", $"--user-data-dir={directory}", "about:blank",
            ])
        {
            RedirectStandardError = true,
        })!;
        var chromium = new Chromium(process, directory);
        using var limit = new CancellationTokenSource(Limit);
        string? line;
        const string Listening = "DevTools listening on ";
        while ((line = await process.StandardError.ReadLineAsync(limit.Token)) is not null && !line.StartsWith(Listening, StringComparison.Ordinal))
        {
            // Chromium complains about much that a machine without a desktop lacks.
        }

        Assert.True(line is not null, "Chromium ended before it listened");
        _ = process.StandardError.ReadToEndAsync(chromium._stop.Token);
        using var http = new HttpClient();
        JsonNode? page = null;
        await Vhostd.WaitForAsync(
            async () => (page = JsonNode.Parse(await http.GetStringAsync(new Uri($"http://{new Uri(line[Listening.Length..]).Authority}/json/list"), limit.Token))!.AsArray()
                .FirstOrDefault(target => target!["type"]!.GetValue<string>() == "page")) is not null,
            "a page of Chromium");
        await chromium._socket.ConnectAsync(new Uri(page!["webSocketDebuggerUrl"]!.GetValue<string>()), limit.Token);
        chromium._reading = chromium.ReadAsync();
        foreach (var domain in (string[])["Page", "Runtime", "Network", "Log"])
        {
            await chromium.CallAsync($"{domain}.enable");
        }

        return chromium;
    }

    public async Task<JsonNode> CallAsync(string method, JsonObject? parameters = null)
    {
        var id = Interlocked.Increment(ref _lastId);
        var reply = _calls[id] = new TaskCompletionSource<JsonNode>(TaskCreationOptions.RunContinuationsAsynchronously);
        var text = new JsonObject { ["id"] = id, ["method"] = method, ["params"] = parameters ?? [] }.ToJsonString();
        await _socket.SendAsync(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text, true, _stop.Token);
        var answer = await reply.Task.WaitAsync(Limit);
        Assert.True(answer["error"] is null, $"{method}: {answer["error"]?.ToJsonString()}");
        return answer["result"]!;
    }

    public async Task OpenAsync(string url, int width = 1360, int height = 900)
    {
        await ResizeAsync(width, height);
        await CallAsync("Page.navigate", new JsonObject { ["url"] = url });
    }

    public Task PreferAsync(string colours) =>
        CallAsync("Emulation.setEmulatedMedia", new JsonObject { ["features"] = new JsonArray(new JsonObject { ["name"] = "prefers-color-scheme", ["value"] = colours }) });

    /// <summary>The value of an expression of the page.</summary>
    public async Task<JsonNode?> EvaluateAsync(string expression)
    {
        var result = await CallAsync("Runtime.evaluate", new JsonObject { ["expression"] = expression, ["returnByValue"] = true, ["awaitPromise"] = true });
        Assert.True(result["exceptionDetails"] is null, $"{expression}: {result["exceptionDetails"]?.ToJsonString()}");
        return result["result"]!["value"]?.DeepClone();
    }

    /// <summary>Waits until an expression of the page is true.</summary>
    public Task WaitForAsync(string expression) =>
        Vhostd.WaitForAsync(async () => (await EvaluateAsync($"Boolean({expression})"))!.GetValue<bool>(), $"{expression} (faults: {string.Join("; ", Faults)})");

    /// <summary>Gives the page another window.</summary>
    public Task ResizeAsync(int width, int height) =>
        CallAsync("Emulation.setDeviceMetricsOverride", new JsonObject { ["width"] = width, ["height"] = height, ["deviceScaleFactor"] = 1, ["mobile"] = false });

    public async Task<byte[]> TakeScreenshotAsync() =>
        Convert.FromBase64String((await CallAsync("Page.captureScreenshot", new JsonObject { ["format"] = "png" }))["data"]!.GetValue<string>());

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        await _reading;
        _process.Dispose();
        _socket.Dispose();
        // Its processes may still write while they end.
        await Vhostd.WaitForAsync(
            () =>
            {
                try
                {
                    Directory.Delete(_directory, recursive: true);
                    return Task.FromResult(true);
                }
                catch (IOException)
                {
                    return Task.FromResult(false);
                }
            },
            "the end of Chromium's files");
    }

    private async Task ReadAsync()
    {
        var buffer = new byte[65536];
        using var message = new MemoryStream();
        try
        {
            while (true)
            {
                var received = await _socket.ReceiveAsync(buffer.AsMemory(), _stop.Token);
                message.Write(buffer, 0, received.Count);
                if (!received.EndOfMessage)
                {
                    continue;
                }

                var node = JsonNode.Parse(message.ToArray())!;
                message.SetLength(0);
                if (node["id"] is { } id && _calls.TryRemove(id.GetValue<int>(), out var call))
                {
                    call.SetResult(node);
                    continue;
                }

                switch (node["method"]?.GetValue<string>())
                {
                    case "Network.requestWillBeSent":
                        Requests.Enqueue(node["params"]!["request"]!["url"]!.GetValue<string>());
                        break;
                    case "Runtime.exceptionThrown":
                        Faults.Enqueue(node["params"]!.ToJsonString());
                        break;
                    case "Log.entryAdded" when node["params"]!["entry"]!["level"]!.GetValue<string>() == "error":
                        Faults.Enqueue(node["params"]!["entry"]!["text"]!.GetValue<string>());
                        break;
                    default:
                        break;
                }
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or WebSocketException)
        {
            foreach (var call in _calls.Values)
            {
                call.TrySetException(exception);
            }
        }
    }
}
