using System.Diagnostics;
using System.Globalization;

namespace Vhost.Fuzz.Tests;

/// <summary>
/// Runs a target on the inputs of its corpus, and then on inputs made from a seed: fresh ones, and changes of those that showed something new. A target that does
/// not come back is reported with its input and ends the process, since nothing can stop it.
/// </summary>
internal sealed class Fuzzer(string name, Func<IFuzzTarget> create)
{
    private const int MaxInputBytes = 1024;
    private const int MaxPool = 4096;
    private static readonly TimeSpan HangLimit = TimeSpan.FromMinutes(2);

    private readonly List<byte[]> _pool = [];
    private readonly HashSet<ulong> _seen = [];
    private byte[]? _running;
    private long _runningSince;

    /// <summary>Where inputs lie that once found a fault, or that reach deep.</summary>
    public static string CorpusDirectory(string target) => Path.Combine(AppContext.BaseDirectory, "corpus", target);

    /// <summary>Runs the corpus and then made inputs.</summary>
    /// <param name="seconds">For how long.</param>
    /// <param name="seed">Gives the same inputs again, as long as the target shows the same.</param>
    /// <returns>The number of inputs and of different outcomes.</returns>
    public (long Inputs, int Outcomes) Run(double seconds, int seed)
    {
        using var target = create();
        using var watch = new Timer(_ => CheckHang(), null, TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(5));
        long inputs = 0;
        var corpus = new DirectoryInfo(CorpusDirectory(name));
        foreach (var file in corpus.Exists ? corpus.GetFiles().Select(file => file.FullName).Order(StringComparer.Ordinal) : Enumerable.Empty<string>())
        {
            RunOne(target, File.ReadAllBytes(file));
            inputs++;
        }

        var random = new Random(seed);
        for (var begin = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(begin).TotalSeconds < seconds; inputs++)
        {
            RunOne(target, Make(random));
        }

        return (inputs, _seen.Count);
    }

    private void RunOne(IFuzzTarget target, byte[] input)
    {
        Volatile.Write(ref _runningSince, Stopwatch.GetTimestamp());
        Volatile.Write(ref _running, input);
        try
        {
            if (_seen.Add(target.Run(new FuzzInput(input))) && _pool.Count < MaxPool)
            {
                _pool.Add(input);
            }
        }
        catch (Exception exception)
        {
            throw new FuzzException($"{name}: {exception.Message}\n{Keep(input)}", exception);
        }
        finally
        {
            Volatile.Write(ref _running, null);
        }
    }

    private byte[] Make(Random random)
    {
        if (_pool.Count == 0 || random.Next(4) == 0)
        {
            var fresh = new byte[random.Next(4, MaxInputBytes)];
            random.NextBytes(fresh);
            return fresh;
        }

        var changed = _pool[random.Next(_pool.Count)].ToList();
        for (var changes = random.Next(1, 9); changes > 0; changes--)
        {
            var at = random.Next(changed.Count);
            switch (random.Next(6))
            {
                case 0:
                    changed.RemoveRange(at, random.Next(0, Math.Min(32, changed.Count - at)));
                    break;
                case 1:
                    var inserted = new byte[random.Next(1, 32)];
                    random.NextBytes(inserted);
                    changed.InsertRange(at, inserted);
                    break;
                case 2:
                    var other = _pool[random.Next(_pool.Count)];
                    changed.RemoveRange(at, changed.Count - at);
                    changed.AddRange(other.AsSpan(random.Next(other.Length)));
                    break;
                case 3:
                    changed.InsertRange(at, changed.GetRange(at, Math.Min(random.Next(1, 64), changed.Count - at)));
                    break;
                default:
                    changed[at] = (byte)random.Next(256);
                    break;
            }

            if (changed.Count == 0)
            {
                changed.Add(0);
            }
        }

        return [.. changed.Take(MaxInputBytes)];
    }

    private void CheckHang()
    {
        if (Volatile.Read(ref _running) is { } input && Stopwatch.GetElapsedTime(Volatile.Read(ref _runningSince)) > HangLimit)
        {
            Environment.FailFast($"fuzz target {name} does not come back. {Keep(input)}");
        }
    }

    private string Keep(byte[] input)
    {
        var file = Path.Combine(Path.GetTempPath(), string.Create(CultureInfo.InvariantCulture, $"vhostd-fuzz-{name}-{Environment.ProcessId}.bin"));
        File.WriteAllBytes(file, input);
        return $"The input is in {file}; as a part of tests/fuzz/corpus/{name} it is run by every test run:\n{Convert.ToHexString(input)}";
    }
}
