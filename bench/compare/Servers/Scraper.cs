using System.Diagnostics;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <summary>Asks a server for its metrics, as Prometheus does: one connection, again and again. It parses nothing: what is measured is the server's part.</summary>
internal sealed class Scraper(Uri address) : IDisposable
{
    private readonly HttpClient _client = new() { Timeout = TimeSpan.FromSeconds(60) };

    /// <summary>Scrapes at once, a number of times.</summary>
    /// <exception cref="FrontEndException">The server gives no metrics.</exception>
    public void Scrape(int count)
    {
        for (var i = 0; i < count; i++)
        {
            ScrapeOnce();
        }
    }

    /// <summary>Scrapes on a thread of its own while something else is done.</summary>
    /// <param name="perSecond">How often; the first comes in the middle of an interval.</param>
    /// <param name="work">The other thing.</param>
    /// <exception cref="FrontEndException">The server gives no metrics.</exception>
    public T Beside<T>(double perSecond, Func<T> work)
    {
        using var done = new ManualResetEventSlim();
        var scraping = OwnThread.Start(() =>
        {
            var interval = TimeSpan.FromSeconds(1 / perSecond);
            var wait = interval / 2;
            while (!done.Wait(wait))
            {
                var begin = Stopwatch.GetTimestamp();
                ScrapeOnce();
                var rest = interval - Stopwatch.GetElapsedTime(begin);
                wait = rest > TimeSpan.Zero ? rest : TimeSpan.Zero;
            }

            return true;
        });
        try
        {
            return work();
        }
        finally
        {
            done.Set();
            scraping.GetAwaiter().GetResult();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _client.Dispose();

    private void ScrapeOnce()
    {
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, address);
            using var response = _client.Send(request).EnsureSuccessStatusCode();
            using var body = response.Content.ReadAsStream();
            body.CopyTo(Stream.Null);
        }
        catch (HttpRequestException exception)
        {
            throw new FrontEndException($"{address} gave no metrics: {exception.Message}");
        }
    }
}
