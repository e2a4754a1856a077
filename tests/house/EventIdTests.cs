using System.Globalization;
using System.Text.RegularExpressions;

namespace Vhost.House.Tests;

/// <summary>Whoever reads logs by machine goes by ids: texts may change. The page of events is held against the sources.</summary>
public sealed partial class EventIdTests
{
    private const string Page = "docs/observability.md";

    private static IEnumerable<(string File, string Text)> Sources => Repository.Product(".cs").Select(file => (file, Repository.Read(file)));

    [Fact]
    public void Each_message_has_an_event_id()
    {
        var calls = 0;
        foreach (var (file, text) in Sources)
        {
            foreach (Match call in LogCall().Matches(text))
            {
                calls++;
                Assert.True(EventOfTable().IsMatch(text[(call.Index + call.Length)..]), $"{file}: {call.Value}... begins without an id of its part's table (NameEvents.Id)");
            }

            foreach (Match attribute in LoggerMessage().Matches(text))
            {
                calls++;
                Assert.True(Declared().IsMatch(text[attribute.Index..]), $"{file}: {text.AsSpan(attribute.Index, 80)} has no EventId, or its method is not named Log...");
            }
        }

        // Far fewer would mean that the search finds nothing.
        Assert.True(calls > 150, $"only {calls} calls were found");
    }

    [Fact]
    public void No_id_means_two_things()
    {
        var shared = Events().GroupBy(known => known.Id).Where(group => group.Count() > 1).Select(group => string.Join(" and ", group));
        Assert.Empty(shared);
    }

    [Fact]
    public void Each_part_keeps_to_its_ids()
    {
        var ranges = Range().Matches(Repository.Read(Page))
            .Select(row => (First: Number(row.Groups[1]), Last: Number(row.Groups[2]), Part: row.Groups[3].Value)).ToArray();
        Assert.NotEmpty(ranges);
        Assert.All(ranges.Zip(ranges.Skip(1)), pair => Assert.True(pair.First.Last < pair.Second.First, $"{pair.First} meets {pair.Second}"));
        Assert.All(Events(), known => Assert.True(
            ranges.Any(range => range.Part == known.Part && known.Id >= range.First && known.Id <= range.Last), $"{known} is not in the range of {known.Part} in {Page}"));
        Assert.Equal(Events().Select(known => known.Part).Distinct().Order(StringComparer.Ordinal), ranges.Select(range => range.Part).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void The_page_lists_exactly_the_events_that_there_are()
    {
        var documented = Row().Matches(Repository.Read(Page)).Select(row => (Number(row.Groups[1]), row.Groups[2].Value));
        Assert.Equal(Events().Select(known => (known.Id, known.Name)).Order(), documented);
    }

    [Fact]
    public void Each_event_of_a_table_is_logged_somewhere()
    {
        var used = string.Concat(Sources.Where(source => !source.File.EndsWith("Events.cs", StringComparison.Ordinal) || !TableEntry().IsMatch(source.Text)).Select(source => source.Text));
        Assert.All(
            Sources.SelectMany(source => TableEntry().Matches(source.Text).Select(entry => $"{Path.GetFileNameWithoutExtension(source.File)}.{entry.Groups[1].Value}")),
            name => Assert.True(Regex.IsMatch(used, $@"\b{Regex.Escape(name)}\b"), $"{name} is not used"));
    }

    private static (int Id, string Name, string Part)[] Events() =>
    [
        .. Sources.SelectMany(source => TableEntry().Matches(source.Text).Select(entry => (Number(entry.Groups[2]), entry.Groups[1].Value, Part(source.File)))),
        .. Sources.SelectMany(source => Declared().Matches(source.Text).Select(entry => (Number(entry.Groups[1]), entry.Groups[2].Value, Part(source.File)))),
    ];

    private static string Part(string file)
    {
        string[] folders = file.Split('/');
        return folders[0] is "lib" or "plugins" ? $"{folders[0]}/{folders[1]}" : folders[0];
    }

    private static int Number(Group digits) => int.Parse(digits.Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"\.Log(?:Trace|Debug|Information|Warning|Error|Critical)\(\s*")]
    private static partial Regex LogCall();

    [GeneratedRegex(@"^\w+Events\.\w+\s*,")]
    private static partial Regex EventOfTable();

    [GeneratedRegex(@"\[LoggerMessage\b")]
    private static partial Regex LoggerMessage();

    /// <summary>The texts hold brackets, so the attribute is read up to the method that follows it.</summary>
    [GeneratedRegex(@"\[LoggerMessage\(\s*(?:EventId = )?(\d+),(?:(?!\[LoggerMessage).)*?\bvoid Log(\w+)\(", RegexOptions.Singleline)]
    private static partial Regex Declared();

    [GeneratedRegex(@"static readonly EventId (\w+) = new\((\d+), nameof\(\1\)\);")]
    private static partial Regex TableEntry();

    [GeneratedRegex(@"^\| (\d+) to (\d+) \| `([\w/-]+)` \|$", RegexOptions.Multiline)]
    private static partial Regex Range();

    [GeneratedRegex(@"^\| (\d+) \| (\w+) \| ", RegexOptions.Multiline)]
    private static partial Regex Row();
}
