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
    public void No_source_file_is_longer_than_500_lines() =>
        Assert.Empty(Repository.With(".cs").Select(file => (file, lines: Repository.Read(file).Count(character => character == '\n'))).Where(pair => pair.lines > MaxLines));

    [Fact]
    public void Nothing_is_left_for_later_in_product_code() =>
        Assert.Empty(Find(Product(".cs"), Unfinished));

    [Fact]
    public void No_test_is_skipped() =>
        Assert.Empty(Repository.With(".cs").Where(file => file.StartsWith("tests/", StringComparison.Ordinal) && SkippedTest().IsMatch(Repository.Read(file))));

    [Fact]
    public void Nothing_refers_to_the_place_where_it_was_written() =>
        Assert.Empty(Find(Repository.With(".cs", ".csproj", ".props", ".targets", ".md", ".json", ".sh"), Workplace));

    [Fact]
    public void No_type_is_a_drawer_for_everything() =>
        Assert.Empty(Repository.With(".cs").Where(file => Drawer().IsMatch(Path.GetFileNameWithoutExtension(file))));

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
        foreach (string file in Product(".cs"))
        {
            string[] lines = Repository.Read(file).Split('\n');
            for (int i = 0; i < lines.Length; i++)
            {
                if (PublicType().IsMatch(lines[i]))
                {
                    int above = i - 1;
                    while (above >= 0 && lines[above].TrimStart() is var text && (text.StartsWith('[') || text.StartsWith('#') || text.Length == 0))
                    {
                        above--;
                    }

                    Assert.True(above >= 0 && lines[above].TrimStart().StartsWith("///", StringComparison.Ordinal), $"{file}:{i + 1} has no documentation: {lines[i]}");
                }
            }
        }
    }

    [Fact]
    public void Unsafe_code_says_why_it_is_sound()
    {
        // A file that takes addresses or uses raw memory has at least one such statement.
        Assert.Empty(Product(".cs").Where(file => FixedStatement().IsMatch(Repository.Read(file)) && !Repository.Read(file).Contains("// SAFETY", StringComparison.Ordinal)));
    }

    private static IEnumerable<string> Product(string extension) =>
        Repository.With(extension).Where(file => file.Split('/')[0] is "abstractions" or "lib" or "host" or "plugins" or "vvu-device");

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
