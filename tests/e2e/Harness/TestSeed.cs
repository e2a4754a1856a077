using System.Globalization;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>
/// Where a test that makes choices begins them: at the same place in every run, so that a run does not fail by other choices than the last one passed by. The environment
/// variable VHOST_TEST_SEED takes its place: a number, such as one that a failed run has printed, or <c>random</c>.
/// </summary>
internal static class TestSeed
{
    private const int Usual = 20_261;

    /// <summary>The seed. Whoever uses it prints it.</summary>
    public static int Get() => Environment.GetEnvironmentVariable("VHOST_TEST_SEED") switch
    {
        null or "" => Usual,
        "random" => Random.Shared.Next(1_000_000),
        { } seed => int.Parse(seed, CultureInfo.InvariantCulture),
    };
}
