using System.Text.RegularExpressions;

namespace Vhost.House.Tests;

/// <summary>The page of promises names tests; each of them is there.</summary>
public sealed partial class ReliabilityPageTests
{
    [Fact]
    public void Every_test_that_a_promise_names_is_there()
    {
        var named = TestName().Matches(Repository.Read("docs/reliability.md"));
        Assert.True(named.Count > 20, $"only {named.Count} tests are named");
        foreach (Match match in named)
        {
            string file = $"tests/{match.Groups["area"].Value}/{match.Groups["class"].Value}.cs";
            Assert.True(Repository.Files.Contains(file), $"{match.Value}: there is no {file}");
            string method = match.Groups["method"].Value;
            Assert.True(method.Length == 0 || Repository.Read(file).Contains($" {method}(", StringComparison.Ordinal), $"{match.Value}: {file} has no such method");
        }
    }

    [GeneratedRegex("""`(?<area>[a-z0-9-]+)/(?<class>[A-Z]\w+Tests)(\.(?<method>\w+))?`""")]
    private static partial Regex TestName();
}
