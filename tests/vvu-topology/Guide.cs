using System.Text;
using System.Text.RegularExpressions;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.VvuTopology.Tests;

/// <summary>The commands of docs/appliance-vm.md: the tests run what the page says, with paths of their own.</summary>
internal static partial class Guide
{
    /// <summary>Where the page keeps the sockets.</summary>
    public const string SocketDirectory = "/run/vvu/";

    /// <summary>Where the page keeps the images.</summary>
    public const string ImageDirectory = "/srv/appliance/";

    /// <summary>The page's file of the Compute VM's memory.</summary>
    public const string MemoryFile = "/dev/shm/compute";

    /// <summary>The page.</summary>
    public static string Text { get; } = File.ReadAllText(Path.Combine(TestEnvironment.RepositoryRoot, "docs", "appliance-vm.md"));

    /// <summary>The block of a name.</summary>
    public static string Block(string name) =>
        Blocks().Where(b => b.Name == name).Select(b => b.Content).SingleOrDefault() ?? throw new EndToEndException($"docs/appliance-vm.md has no block <!-- run: {name} -->");

    /// <summary>All blocks with a mark: those to be run by their names, others with an empty one.</summary>
    public static IEnumerable<(string Name, string Content)> Blocks() =>
        MarkedBlock().Matches(Text).Select(m => (m.Groups["name"].Value, m.Groups["content"].Value));

    /// <summary>The commands of a block, each as words; comments and the dots that stand for what the reader adds are left out.</summary>
    public static IReadOnlyList<IReadOnlyList<string>> Commands(string name) =>
        [.. Block(name).Replace("\\\n", " ", StringComparison.Ordinal).Split('\n').Select(Words).Where(w => w.Count > 0)];

    /// <summary>The only command of a block, without the program's name, and with the scenario's paths.</summary>
    public static IReadOnlyList<string> Arguments(string name, Scenario scenario) => Arguments(Assert.Single(Commands(name)), scenario);

    /// <summary>A command without the program's name, and with the scenario's paths.</summary>
    public static IReadOnlyList<string> Arguments(IReadOnlyList<string> command, Scenario scenario)
    {
        string directory = scenario.FilePath("") + "/";
        return [.. command.Skip(1).Select(word => word
            .Replace(MemoryFile, scenario.FilePath("compute-memory"), StringComparison.Ordinal)
            .Replace(SocketDirectory, directory, StringComparison.Ordinal)
            .Replace(ImageDirectory, directory, StringComparison.Ordinal))];
    }

    /// <summary>The value that follows an option.</summary>
    public static string Value(IReadOnlyList<string> words, string option)
    {
        for (int i = 0; i + 1 < words.Count; i++)
        {
            if (words[i] == option)
            {
                return words[i + 1];
            }
        }

        throw new EndToEndException($"no {option} in {string.Join(' ', words)}");
    }

    private static List<string> Words(string line)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        bool isQuoted = false;
        foreach (char c in line + ' ')
        {
            if (c == '\'')
            {
                isQuoted = !isQuoted;
            }
            else if (!isQuoted && c == '#' && word.Length == 0)
            {
                break;
            }
            else if (isQuoted || !char.IsWhiteSpace(c))
            {
                word.Append(c);
            }
            else if (word.Length > 0)
            {
                words.Add(word.ToString());
                word.Clear();
            }
        }

        words.RemoveAll(w => w == "...");
        return words;
    }

    [GeneratedRegex(@"<!-- (?:run: (?<name>[a-z-]+)|not run) -->\n```[a-z]*\n(?<content>.*?)```\n", RegexOptions.Singleline)]
    private static partial Regex MarkedBlock();
}
