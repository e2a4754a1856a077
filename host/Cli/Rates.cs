using System.Globalization;
using System.Text.Json.Nodes;

namespace Vhost.Host.Cli;

/// <summary>What happened between two reports of <c>vhostd_get_status</c>.</summary>
internal static class Rates
{
    private static readonly (string Key, double Share)[] Percentiles = [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)];

    /// <summary>Makes rates of counters.</summary>
    /// <param name="before">The earlier report.</param>
    /// <param name="after">The later one.</param>
    /// <returns>The rates: controllers, bdevs, reactors; and the interval.</returns>
    internal static JsonObject Between(JsonNode before, JsonNode after)
    {
        double seconds = Math.Max(Number(after, "time_seconds") - Number(before, "time_seconds"), 1e-9);
        JsonObject[] controllers = Rows("controllers");
        JsonObject[] bdevs = Rows("bdevs");
        JsonObject[] reactors = [.. Items(after, "reactors").Select(now => Reactor(Find(before, "reactors", "id", now), now, seconds))];
        double busy = reactors.Sum(reactor => reactor["busy_percent"]!.GetValue<double>());
        Share(controllers, busy);
        Share(bdevs, busy);
        return new JsonObject
        {
            ["state"] = after["state"]?.DeepClone(),
            ["healthy"] = after["health"]?["healthy"]?.DeepClone(),
            ["interval_seconds"] = seconds,
            ["controllers"] = new JsonArray([.. controllers]),
            ["bdevs"] = new JsonArray([.. bdevs]),
            ["reactors"] = new JsonArray([.. reactors]),
        };

        JsonObject[] Rows(string key) => [.. Items(after, key)
            .Where(now => key != "bdevs" || now["size_bytes"] is not null)
            .Select(now => Row(Find(before, key, "name", now), now, seconds))];
    }

    private static JsonObject Row(JsonNode? before, JsonNode now, double seconds)
    {
        double reads = Delta("reads");
        double writes = Delta("writes");
        double readSeconds = Delta("read_seconds");
        double writeSeconds = Delta("write_seconds");
        var row = new JsonObject
        {
            ["name"] = now["name"]!.DeepClone(),
            ["operations_per_second"] = Delta("operations") / seconds,
            ["reads_per_second"] = reads / seconds,
            ["writes_per_second"] = writes / seconds,
            ["read_bytes_per_second"] = Delta("read_bytes") / seconds,
            ["written_bytes_per_second"] = Delta("written_bytes") / seconds,
            ["read_mean_us"] = reads > 0 ? readSeconds / reads * 1e6 : null,
            ["write_mean_us"] = writes > 0 ? writeSeconds / writes * 1e6 : null,
            // Little's law: how many requests were under way on average.
            ["queue_depth"] = (readSeconds + writeSeconds) / seconds,
            ["outstanding"] = now["outstanding"]?.DeepClone(),
            ["failed_per_second"] = Delta("failed") / seconds,
        };
        AddPercentiles(row, before?["latency"], now["latency"]);
        return row;

        // A part that was made again under the same name begins at zero.
        double Delta(string key) => Number(now, key) - Number(before, key) is var delta && delta < 0 ? Number(now, key) : delta;
    }

    /// <summary>Percentiles of the interval: what each bucket gained.</summary>
    private static void AddPercentiles(JsonObject row, JsonNode? before, JsonNode? now)
    {
        if (now is null)
        {
            return;
        }

        var gains = Buckets(now);
        if (Number(before, "total") <= Number(now, "total"))
        {
            foreach ((double end, double count) in before is null ? [] : Buckets(before))
            {
                gains[end] = gains.GetValueOrDefault(end) - count;
            }
        }

        double all = gains.Values.Sum();
        foreach ((string key, double share) in Percentiles)
        {
            double soFar = 0;
            row[key] = all <= 0 ? null : gains.First(gain => (soFar += gain.Value) >= share * all && gain.Value > 0).Key;
        }

        static SortedDictionary<double, double> Buckets(JsonNode latency) =>
            new(latency["buckets"]!.AsArray().ToDictionary(bucket => Value(bucket![0]!), bucket => Value(bucket![1]!)));
    }

    private static JsonObject Reactor(JsonNode? before, JsonNode now, double seconds)
    {
        return new JsonObject
        {
            ["id"] = now["id"]!.DeepClone(),
            ["cpu"] = now["cpu"]!.DeepClone(),
            ["health"] = now["health"]!.DeepClone(),
            ["busy_percent"] = Percent("busy_seconds"),
            ["sleep_percent"] = Percent("sleep_seconds"),
            ["items_per_second"] = (Number(now, "items") - Number(before, "items")) / seconds,
            ["wakeups_per_second"] = (Number(now, "wakeups") - Number(before, "wakeups")) / seconds,
        };

        double Percent(string key) => Math.Clamp((Number(now, key) - Number(before, key)) / seconds * 100, 0, 100);
    }

    /// <summary>Divides what the reactors did by requests: an estimate, as nobody stops the time of a single request.</summary>
    private static void Share(JsonObject[] rows, double busyPercent)
    {
        double all = rows.Sum(row => row["operations_per_second"]!.GetValue<double>());
        foreach (JsonObject row in rows)
        {
            row["cpu_percent_estimate"] = all > 0 ? busyPercent * row["operations_per_second"]!.GetValue<double>() / all : 0;
        }
    }

    private static IEnumerable<JsonNode> Items(JsonNode report, string key) => (report[key] as JsonArray ?? []).OfType<JsonNode>();

    private static JsonNode? Find(JsonNode report, string key, string id, JsonNode now) =>
        Items(report, key).FirstOrDefault(item => JsonNode.DeepEquals(item[id], now[id]));

    private static double Number(JsonNode? node, string key) => node?[key] is JsonValue value ? Value(value) : 0;

    private static double Value(JsonNode value) =>
        value is JsonValue known && known.TryGetValue(out double number) ? number : double.Parse(value.ToJsonString(), CultureInfo.InvariantCulture);
}
