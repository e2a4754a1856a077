using System.Text.RegularExpressions;

namespace Vhost.House.Tests;

/// <summary>What a reader may rely on in every file.</summary>
public sealed partial class SourceTests
{
    private const int MaxLines = 500;

    // Put together at run time, so that this file does not find itself.
    private static readonly string[] Unfinished = ["TO" + "DO", "FIX" + "ME", "HA" + "CK", "XX" + "X:", "NotImplemented" + "Exception", "Thread" + ".Sleep("];

    private static readonly string[] Workplace = ["/wor" + "k/", "../sha" + "red", "r-se" + "ed"];

    [Fact]
    public void No_source_file_is_longer_than_500_lines()
    {
        (string File, int Lines)[] lengths = [.. Repository.With(".cs").Select(file => (file, Repository.Read(file).Count(character => character == '\n')))];
        Assert.All(lengths, pair => Assert.True(pair.Lines <= MaxLines, $"{pair.File} has {pair.Lines} lines"));
    }

    [Fact]
    public void Nothing_is_left_for_later_in_product_code() =>
        Assert.Empty(Find(Product(".cs"), Unfinished));

    [Fact]
    public void No_test_is_skipped() =>
        Assert.All(Repository.With(".cs").Where(file => file.StartsWith("tests/", StringComparison.Ordinal)), file => Assert.False(SkippedTest().IsMatch(Repository.Read(file)), file));

    [Fact]
    public void Nothing_refers_to_the_place_where_it_was_written() =>
        Assert.Empty(Find(Repository.With(".cs", ".csproj", ".props", ".targets", ".md", ".json", ".sh"), Workplace));

    [Fact]
    public void No_type_is_a_drawer_for_everything() =>
        Assert.All(Repository.With(".cs"), file => Assert.False(Drawer().IsMatch(Path.GetFileNameWithoutExtension(file)), file));

    [Fact]
    public void Namespaces_are_file_scoped_and_begin_with_Vhost()
    {
        foreach (string file in Product(".cs"))
        {
            Match match = Namespace().Match(Repository.Read(file));
            if (match.Success)
            {
                Assert.True(match.Groups[1].Value.StartsWith("Vhost.", StringComparison.Ordinal) && match.Groups[2].Value == ";", $"{file}: {match.Value}");
            }
        }
    }

    [Fact]
    public void Public_types_of_the_product_are_documented()
    {
        var bare = new List<string>();
        foreach (string file in Product(".cs"))
        {
            string[] lines = Repository.Read(file).Split('\n');
            for (int i = 0; i < lines.Length; i++)
            {
                if (PublicType().IsMatch(lines[i]) && !IsDocumented(lines, i))
                {
                    bare.Add($"{file}:{i + 1}: {lines[i]}");
                }
            }
        }

        Assert.True(bare.Count == 0, string.Join('\n', bare));
    }

    [Fact]
    public void Code_that_takes_addresses_says_why_that_is_sound()
    {
        string[] silent = [.. Product(".cs").Where(file => Repository.Read(file) is var text && FixedStatement().IsMatch(text) && !text.Contains("// SAFETY", StringComparison.Ordinal))];
        Assert.True(silent.Length == 0, string.Join('\n', silent));
    }

    /// <summary>Attributes, plain comments and directives may stand between the documentation and the type.</summary>
    private static bool IsDocumented(string[] lines, int index)
    {
        for (int i = index - 1; i >= 0; i--)
        {
            string text = lines[i].TrimStart();
            if (text.StartsWith("///", StringComparison.Ordinal))
            {
                return true;
            }

            if (text.Length != 0 && text[0] is not ('[' or '#') && !text.StartsWith("//", StringComparison.Ordinal))
            {
                return false;
            }
        }

        return false;
    }

    private static IEnumerable<string> Product(string extension) => Repository.Product(extension);

    private static IEnumerable<string> Find(IEnumerable<string> files, string[] words) =>
        files.SelectMany(file => words.Where(word => Repository.Read(file).Contains(word, StringComparison.Ordinal)).Select(word => $"{file}: {word}"));

    [GeneratedRegex(@"\[(Fact|Theory)\([^)]*Skip\s*=")]
    private static partial Regex SkippedTest();

    [GeneratedRegex(@"(Utils?|Helpers?|Misc|Common)$")]
    private static partial Regex Drawer();

    [GeneratedRegex(@"^namespace ([A-Za-z0-9_.]+)\s*(;|\{)", RegexOptions.Multiline)]
    private static partial Regex Namespace();

    [GeneratedRegex(@"^public (static |sealed |abstract |partial |readonly |unsafe |ref )*(class|struct|record|interface|enum|delegate) ")]
    private static partial Regex PublicType();

    [GeneratedRegex(@"\bfixed \(")]
    private static partial Regex FixedStatement();
}
