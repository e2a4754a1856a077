using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;

namespace Vhost.Operate.Tests;

/// <summary>The dashboard, in a browser and by hand.</summary>
public sealed class DashboardTests
{
    [Fact]
    public async Task The_page_shows_the_graph_and_the_load_and_changes_things_in_a_real_browser()
    {
        var port = ObservabilityTests.FreePort();
        await using var vhostd = await Vhostd.StartAsync("--dashboard", $"127.0.0.1:{port}", "--dashboard-actions");
        await vhostd.AddNullDiskAsync();
        foreach (var name in (string[])["Malloc0", "Malloc1"])
        {
            await vhostd.RpcAsync("bdev_malloc_create", $"name={name}", "num_blocks=16384", "block_size=512");
        }

        await vhostd.RpcAsync("vhost_create_scsi_controller", "ctrlr=vhost.1");
        await vhostd.RpcAsync("vhost_scsi_controller_add_target", "ctrlr=vhost.1", "scsi_target_num=0", "bdev_name=Malloc0");
        await vhostd.RpcAsync("vhost_scsi_controller_add_target", "ctrlr=vhost.1", "scsi_target_num=1", "bdev_name=Malloc1");
        await vhostd.RpcAsync("vhostd_set_histograms", "enable=true");
        // It runs until the test has seen its load, however long the browser takes to start.
        await using var bench = vhostd.StartBench("vhost.0", "--interrupt", "--read-percent", "70", "--queue-depth", "8");
        var url = vhostd.Output.Single(line => line.StartsWith("dashboard: ", StringComparison.Ordinal))["dashboard: ".Length..];
        Assert.StartsWith($"http://127.0.0.1:{port}/#token=", url, StringComparison.Ordinal);

        await using var chromium = await Chromium.StartAsync();
        await chromium.PreferAsync("light");
        await chromium.OpenAsync(url);
        // Two transports, two devices, three bdevs; and the load.
        await chromium.WaitForAsync("document.querySelectorAll('#graph .node').length === 7");
        await chromium.WaitForAsync("/[1-9]/.test(document.getElementById('t-iops').textContent) && document.querySelectorAll('.edge.live').length >= 2");
        await chromium.WaitForAsync("document.getElementById('health').textContent === 'healthy' && document.querySelectorAll('#events li').length > 0");
        // The token stays neither in the address nor in the history.
        Assert.Equal($"http://127.0.0.1:{port}/", (await chromium.EvaluateAsync("location.href"))!.GetValue<string>());
        // The chart is drawn, and not only there.
        await chromium.WaitForAsync("(() => { const c = document.getElementById('c-iops'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return d.some(v => v !== 0); })()");

        await chromium.EvaluateAsync("document.querySelector('[data-kind=controller][data-name=\"vhost.0\"]').dispatchEvent(new MouseEvent('click', { bubbles: true }))");
        await chromium.WaitForAsync("!document.getElementById('details').hidden && document.getElementById('d-list').textContent.includes('p99')");
        await ShotAsync(chromium, "dashboard-light.png", "light");
        await ShotAsync(chromium, "dashboard-dark.png", "dark");
        // No text leaves its node, and a narrow window has everything one below the other: only the graph is wider, and scrolls in its frame.
        Assert.Equal("", (await chromium.EvaluateAsync("[...document.querySelectorAll('.node')].flatMap(n => [...n.querySelectorAll('text')].filter(t => t.getBBox().x + t.getBBox().width > n.querySelector('rect').getBBox().width)).map(t => t.textContent).join()"))!.GetValue<string>());
        await chromium.ResizeAsync(420, 1500);
        await chromium.WaitForAsync("innerWidth === 420 && document.documentElement.scrollWidth === document.documentElement.clientWidth && document.querySelector('.graph-box').scrollWidth > 420");
        await ShotAsync(chromium, "dashboard-narrow.png", "light");
        await chromium.ResizeAsync(1360, 900);

        // Adding a bdev and a controller, and removing the bdev.
        await SubmitAsync("d-bdev", "f.type.value = 'null'; f.elements.name.value = 'Web0'; f.size.value = 16;");
        await Vhostd.WaitForAsync(async () => (await vhostd.RpcAsync("bdev_get_bdevs"))!.AsArray().Any(bdev => bdev!["name"]!.GetValue<string>() == "Web0"), "the bdev that was added on the page");
        // Growing it, and limits, which are taken away again; what is not changed stays.
        await PressAsync("bdev", "Web0", "Resize", "d-resize", "f.size.value = 32;");
        await Vhostd.WaitForAsync(async () => (await Web0Async())["num_blocks"]!.GetValue<long>() == 65536, "the new size");
        await PressAsync("bdev", "Web0", "Limits", "d-qos", "f.rw_ios_per_sec.value = 5000; f.w_mbytes_per_sec.value = 20;");
        await Vhostd.WaitForAsync(async () => (await LimitsAsync()) == """{"rw_ios_per_sec":5000,"rw_mbytes_per_sec":0,"r_mbytes_per_sec":0,"w_mbytes_per_sec":20}""", "the limits");
        await PressAsync("bdev", "Web0", "Limits", "d-qos", "f.rw_ios_per_sec.value = 0; f.w_mbytes_per_sec.value = 0;");
        await Vhostd.WaitForAsync(async () => (await LimitsAsync()) == """{"rw_ios_per_sec":0,"rw_mbytes_per_sec":0,"r_mbytes_per_sec":0,"w_mbytes_per_sec":0}""", "no limits");
        await SubmitAsync("d-controller", "f.type.value = 'blk'; f.elements.name.value = 'vhost.web'; f.bdev.value = 'Web0';");
        await chromium.WaitForAsync("document.querySelector('[data-kind=controller][data-name=\"vhost.web\"]')");
        // What is refused is told in the dialog.
        await chromium.EvaluateAsync("document.querySelector('[data-open=d-bdev]').click()");
        await chromium.EvaluateAsync("(() => { const f = document.querySelector('#d-bdev form'); f.type.value = 'null'; f.elements.name.value = 'Web0'; f.requestSubmit(f.querySelector('[value=ok]')); })()");
        await chromium.WaitForAsync("/exists/.test(document.querySelector('#d-bdev .fault').textContent)");
        await chromium.EvaluateAsync("document.getElementById('d-bdev').close()");
        await PressAsync("controller", "vhost.web", "Remove");
        await Vhostd.WaitForAsync(async () => (await vhostd.RpcAsync("vhost_get_controllers"))!.AsArray().All(controller => controller!["ctrlr"]!.GetValue<string>() != "vhost.web"), "the end of the controller");
        await PressAsync("bdev", "Web0", "Remove");
        await Vhostd.WaitForAsync(async () => (await vhostd.RpcAsync("bdev_get_bdevs"))!.AsArray().All(bdev => bdev!["name"]!.GetValue<string>() != "Web0"), "the end of the bdev");

        Assert.All(chromium.Requests.Where(request => !request.StartsWith("about:", StringComparison.Ordinal)), request => Assert.StartsWith($"http://127.0.0.1:{port}/", request, StringComparison.Ordinal));
        // The refusal above is the only error that the page may have met.
        Assert.All(chromium.Faults, fault => Assert.Contains("422", fault, StringComparison.Ordinal));
        await bench.DisposeAsync();
        await vhostd.StopAsync();

        async Task<System.Text.Json.Nodes.JsonNode> Web0Async() => (await vhostd.RpcAsync("bdev_get_bdevs", "name=Web0"))![0]!;

        async Task<string> LimitsAsync() => (await Web0Async())["assigned_rate_limits"]!.ToJsonString();

        async Task SubmitAsync(string dialog, string fill)
        {
            await chromium.EvaluateAsync($"document.querySelector('[data-open={dialog}]').click()");
            await FillAsync(dialog, fill);
        }

        async Task FillAsync(string dialog, string fill)
        {
            await chromium.EvaluateAsync($"(() => {{ const f = document.querySelector('#{dialog} form'); {fill} f.requestSubmit(f.querySelector('[value=ok]')); }})()");
            await chromium.WaitForAsync($"!document.getElementById('{dialog}').open");
        }

        async Task PressAsync(string kind, string name, string button, string dialog = "d-sure", string fill = "")
        {
            await chromium.WaitForAsync($"document.querySelector('[data-kind={kind}][data-name=\"{name}\"]')");
            await chromium.EvaluateAsync($"document.querySelector('[data-kind={kind}][data-name=\"{name}\"]').dispatchEvent(new MouseEvent('click', {{ bubbles: true }}))");
            await chromium.WaitForAsync($"(() => {{ const b = [...document.querySelectorAll('#d-actions button')].find(b => b.textContent === '{button}'); if (b) b.click(); return b; }})()");
            await FillAsync(dialog, fill);
        }
    }

    [Fact]
    public async Task Without_the_token_or_from_another_page_nothing_is_told_or_done()
    {
        var port = ObservabilityTests.FreePort();
        var directory = Vhostd.NewDirectory();
        var tokenFile = Path.Combine(directory, "token");
        const string Token = "0123456789abcdef0123456789abcdef";
        await File.WriteAllTextAsync(tokenFile, Token, TestContext.Current.CancellationToken);
        File.SetUnixFileMode(tokenFile, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead);
        var (code, _, error) = await Vhostd.RunAsync("-S", directory, "-r", Path.Combine(directory, "rpc.sock"), "--dashboard", $"127.0.0.1:{port}", "--dashboard-token-file", tokenFile);
        Assert.Equal(1, code);
        Assert.Contains("chmod 600", error, StringComparison.Ordinal);

        File.SetUnixFileMode(tokenFile, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        await using var vhostd = await Vhostd.StartInAsync(directory, null, "--dashboard", $"127.0.0.1:{port}", "--dashboard-token-file", tokenFile);
        Assert.DoesNotContain(vhostd.Output, line => line.Contains(Token, StringComparison.Ordinal));
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        using var page = await http.GetAsync(new Uri("/", UriKind.Relative), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, page.StatusCode);
        Assert.Contains("default-src 'none'", page.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
        Assert.Equal("nosniff", page.Headers.GetValues("X-Content-Type-Options").Single());
        var html = await page.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        Assert.DoesNotContain("http", html, StringComparison.OrdinalIgnoreCase);

        Assert.Equal(HttpStatusCode.OK, await GetAsync("/api/status", Token));
        Assert.Equal(HttpStatusCode.Unauthorized, await GetAsync("/api/status", null));
        Assert.Equal(HttpStatusCode.Unauthorized, await GetAsync("/api/status", Token + "0"));
        Assert.Equal(HttpStatusCode.Forbidden, await GetAsync("/api/status", Token, origin: "http://evil.example"));
        Assert.Equal(HttpStatusCode.OK, await GetAsync("/api/status", Token, origin: $"http://127.0.0.1:{port}"));
        Assert.False(await GetAsync("/api/status", Token, host: $"evil.example:{port}") is HttpStatusCode.OK);
        Assert.Equal(HttpStatusCode.NotFound, await GetAsync("/../etc/passwd", Token));
        Assert.Equal(HttpStatusCode.NotFound, await GetAsync("/api/none", Token));

        // It was started to show, not to act.
        Assert.Equal(HttpStatusCode.Forbidden, await ActAsync(http, Token, "{\"method\":\"bdev_null_create\",\"params\":{\"name\":\"x\",\"num_blocks\":2048,\"block_size\":512}}"));
        Assert.Empty((await vhostd.RpcAsync("bdev_get_bdevs"))!.AsArray());
        await vhostd.StopAsync();

        async Task<HttpStatusCode> GetAsync(string path, string? token, string? origin = null, string? host = null)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, path);
            request.Headers.Authorization = token is null ? null : new AuthenticationHeaderValue("Bearer", token);
            request.Headers.Host = host;

            // The runtime's HttpListener closes the connection after a foreign name, and may first answer what comes next on it with an empty 200: nothing does.
            request.Headers.ConnectionClose = host is not null;
            if (origin is not null)
            {
                request.Headers.Add("Origin", origin);
            }

            using var response = await http.SendAsync(request, TestContext.Current.CancellationToken);
            return response.StatusCode;
        }
    }

    [Fact]
    public async Task Actions_are_a_short_list_and_their_input_is_checked()
    {
        var port = ObservabilityTests.FreePort();
        await using var vhostd = await Vhostd.StartAsync("--dashboard", $"127.0.0.1:{port}", "--dashboard-actions");
        var token = vhostd.Output.Single(line => line.StartsWith("dashboard: ", StringComparison.Ordinal)).Split("#token=")[1];
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        Assert.Equal(HttpStatusCode.OK, await ActAsync(http, token, "{\"method\":\"bdev_null_create\",\"params\":{\"name\":\"x\",\"num_blocks\":2048,\"block_size\":512}}"));
        Assert.Equal(HttpStatusCode.UnprocessableEntity, await ActAsync(http, token, "{\"method\":\"bdev_null_create\",\"params\":{\"name\":\"x\",\"num_blocks\":2048,\"block_size\":512}}"));
        Assert.Equal(HttpStatusCode.UnprocessableEntity, await ActAsync(http, token, "{\"method\":\"delete_bdev\",\"params\":[1]}"));
        foreach (var wrong in (string[])["{\"method\":\"spdk_kill_instance\",\"params\":{\"sig_name\":\"SIGTERM\"}}", "{\"method\":5}", "[]", "null", "{", new string('[', 5000), "{\"method\":\"" + new string('x', 20000) + "\"}"])
        {
            Assert.Equal(HttpStatusCode.BadRequest, await ActAsync(http, token, wrong));
        }

        Assert.Equal(HttpStatusCode.BadRequest, await ActAsync(http, token, "{\"method\":\"delete_bdev\",\"params\":{\"name\":\"x\"}}", "text/plain"));
        Assert.Single((await vhostd.RpcAsync("bdev_get_bdevs"))!.AsArray());
        await vhostd.StopAsync();
    }

    [Fact]
    public async Task Idle_and_stalled_clients_hold_nobody_up()
    {
        var port = ObservabilityTests.FreePort();
        await using var vhostd = await Vhostd.StartAsync("--dashboard", $"127.0.0.1:{port}", "--dashboard-actions");
        var token = vhostd.Output.Single(line => line.StartsWith("dashboard: ", StringComparison.Ordinal)).Split("#token=")[1];
        var clients = new List<TcpClient>();
        try
        {
            for (var i = 0; i < 240; i++)
            {
                var client = new TcpClient();
                clients.Add(client);
                await client.ConnectAsync(IPAddress.Loopback, port, TestContext.Current.CancellationToken);
                if (i % 6 == 0)
                {
                    // A body that never comes.
                    var head = $"POST /api/actions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{";
                    await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(head), TestContext.Current.CancellationToken);
                }
            }

            using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}"), Timeout = TimeSpan.FromSeconds(120) };
            using var answer = await http.GetAsync(new Uri("/", UriKind.Relative), TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            await Vhostd.WaitForAsync(async () => (await vhostd.RpcAsync("vhostd_get_status"))!["health"]!["healthy"]!.GetValue<bool>(), "health");
        }
        finally
        {
            foreach (var client in clients)
            {
                client.Dispose();
            }
        }

        await vhostd.StopAsync();
    }

    private static async Task<HttpStatusCode> ActAsync(HttpClient http, string token, string body, string type = "application/json")
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/api/actions") { Content = new StringContent(body, Encoding.UTF8, type) };
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        using var response = await http.SendAsync(request, TestContext.Current.CancellationToken);
        return response.StatusCode;
    }

    /// <summary>Takes a picture; keeps it where VHOST_TEST_SCREENSHOTS says, for the documentation.</summary>
    private static async Task ShotAsync(Chromium chromium, string name, string colours)
    {
        await chromium.PreferAsync(colours);
        if (Environment.GetEnvironmentVariable("VHOST_TEST_SCREENSHOTS") is { } directory)
        {
            // Some history makes a better picture.
            await Task.Delay(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
            await File.WriteAllBytesAsync(Path.Combine(directory, name), await chromium.TakeScreenshotAsync(), TestContext.Current.CancellationToken);
            return;
        }

        await chromium.EvaluateAsync("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))");
        Assert.True((await chromium.TakeScreenshotAsync()).Length > 10_000);
    }
}
