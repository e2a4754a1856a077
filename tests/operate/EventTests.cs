using System.Reflection;
using System.Text.RegularExpressions;
using Microsoft.Extensions.Logging;
using Vhost.Host.Cli;
using Vhost.Host.Observability;

namespace Vhost.Operate.Tests;

/// <summary>The table of events, held against the program.</summary>
public sealed partial class EventTests
{
    [Fact]
    public void The_page_lists_exactly_the_events_that_there_are()
    {
        var page = File.ReadAllText(Path.Combine(Vhostd.RepositoryRoot, "docs/observability.md"));
        var documented = Row().Matches(page).Select(row => (int.Parse(row.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture), row.Groups[2].Value)).ToArray();
        Assert.Equal(Events().OrderBy(known => known.Id), documented);
    }

    [Fact]
    public void No_id_means_two_things() => Assert.Equal(Events().Count(), Events().Select(known => known.Id).Distinct().Count());

    private static IEnumerable<(int Id, string Name)> Events() =>
        typeof(HostEvents).GetFields(BindingFlags.NonPublic | BindingFlags.Static).Select(field => (EventId)field.GetValue(null)!).Select(known => (known.Id, known.Name!))
            .Concat(typeof(VhostdService).GetMethods(BindingFlags.NonPublic | BindingFlags.Static).Select(method => (method.Name, method.GetCustomAttribute<LoggerMessageAttribute>()))
                .Where(pair => pair.Item2 is not null).Select(pair => (pair.Item2!.EventId, pair.Name["Log".Length..])));

    [GeneratedRegex(@"^\| (\d+) \| (\w+) \| ", RegexOptions.Multiline)]
    private static partial Regex Row();
}
