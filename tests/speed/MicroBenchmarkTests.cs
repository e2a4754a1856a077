using System.Reflection;
using BenchmarkDotNet.Attributes;
using Vhost.Bench.Micro;
using Vhost.Testing;

namespace Vhost.Speed.Tests;

/// <summary>Each benchmark of <c>bench/micro</c> with tiny inputs and each of its parameters: it still does what it measures, and allocates nothing.</summary>
public sealed class MicroBenchmarkTests
{
    private const int WarmUpCalls = 50;

    public static TheoryData<string, string> Benchmarks => [.. Types.SelectMany(type => Methods(type).Select(method => (type.Name, method.Name)))];

    private static IEnumerable<Type> Types => typeof(MicroBenchmark).Assembly.GetTypes().Where(type => !type.IsAbstract && HasBenchmarks(type));

    [Fact]
    public void Rings_cdbs_and_copies_have_some() =>
        Assert.Superset(new HashSet<Type> { typeof(RingBenchmarks), typeof(CdbBenchmarks), typeof(CopyBenchmarks) }, Types.ToHashSet());

    [Theory]
    [MemberData(nameof(Benchmarks))]
    public void It_does_what_it_measures(string typeName, string methodName)
    {
        var type = Types.Single(type => type.Name == typeName);
        var parameters = type.GetProperties().Where(property => property.IsDefined(typeof(ParamsAttribute))).ToArray();
        foreach (var values in Combinations([.. parameters.Select(property => property.GetCustomAttribute<ParamsAttribute>()!.Values)]))
        {
            var benchmark = Assert.IsAssignableFrom<MicroBenchmark>(Activator.CreateInstance(type));
            for (var i = 0; i < parameters.Length; i++)
            {
                parameters[i].SetValue(benchmark, values[i]);
            }

            benchmark.UseTinyInputs();
            Call<GlobalSetupAttribute>(benchmark);
            try
            {
                Run(benchmark, type.GetMethod(methodName)!.CreateDelegate<Func<long>>(benchmark), $"{methodName}({string.Join(", ", values)})");
            }
            finally
            {
                Call<GlobalCleanupAttribute>(benchmark);
            }
        }
    }

    private static void Run(MicroBenchmark benchmark, Func<long> method, string name)
    {
        for (var i = 0; i < WarmUpCalls; i++)
        {
            var result = method();
            Assert.True(result == benchmark.Expected, $"{name} gave {result} instead of {benchmark.Expected}");
        }

        var allocated = Allocations.LeastOfRounds(() => method());
        Assert.True(allocated == 0, $"{name} allocates {allocated} bytes");
    }

    private static void Call<TAttribute>(MicroBenchmark benchmark)
        where TAttribute : Attribute =>
        Assert.Single(benchmark.GetType().GetMethods(), method => method.IsDefined(typeof(TAttribute))).CreateDelegate<Action>(benchmark)();

    private static bool HasBenchmarks(Type type) => Methods(type).Any();

    private static IEnumerable<MethodInfo> Methods(Type type) => type.GetMethods().Where(method => method.IsDefined(typeof(BenchmarkAttribute)));

    private static IEnumerable<object?[]> Combinations(object?[][] choices) => choices.Aggregate(
        (IEnumerable<object?[]>)[[]],
        (sofar, values) => sofar.SelectMany(head => values.Select(value => (object?[])[.. head, value])));
}
