using Vhost.Linux;

namespace Vhost.Bench;

/// <content>How a case is run and counted.</content>
internal sealed partial class Comparison
{
    /// <summary>Runs a case and its reference in turn and adds the line.</summary>
    private void Compare(string name, Func<Sample> ours, string referenceName = "", Func<Sample>? reference = null, Goal goal = default)
    {
        var ourSamples = new SampleSet();
        var theirs = new SampleSet();
        for (var round = 0; round < _options.Rounds; round++)
        {
            ourSamples.Add(ours());
            if (reference is not null)
            {
                theirs.Add(reference());
            }
        }

        var machineClass = ChooseClass(ourSamples, reference is null ? ourSamples : theirs);
        Add(new ComparisonRow
        {
            Name = name,
            Unit = "k/s",
            Value = ourSamples.Median(machineClass) / 1e3,
            TailMicroseconds = ourSamples.MedianTail(machineClass),
            Reference = reference is null ? null : theirs.Median(machineClass) / 1e3,
            ReferenceTailMicroseconds = reference is null ? null : theirs.MedianTail(machineClass),
            ReferenceName = referenceName,
            Goal = goal,
            Runs = $"{ourSamples.Count(machineClass)}{(reference is null ? "" : $"+{theirs.Count(machineClass)}")}, {MachineClasses.Describe(machineClass)}",
        });
    }

    private void Add(ComparisonRow row)
    {
        _rows.Add(row);
        _onRow(row);
    }

    /// <summary>The class that most pairs of runs are of; null if there is none that both sides met.</summary>
    private static MachineClass? ChooseClass(SampleSet ours, SampleSet theirs)
    {
        var best = new[] { MachineClass.OneCore, MachineClass.TwoCores }.MaxBy(one => Math.Min(ours.Count(one), theirs.Count(one)));
        return Math.Min(ours.Count(best), theirs.Count(best)) > 0 ? best : null;
    }

    /// <summary>Makes a run with a look at the machine before and after it. All servers are paused but for the one that is measured.</summary>
    private Sample Measure(ServerProcess? server, Func<Sample> run)
    {
        var before = LookAtMachine();
        server?.Resume();
        Sample sample;
        try
        {
            sample = run();
        }
        finally
        {
            server?.Pause();
        }

        return sample with { Class = before == LookAtMachine() ? before : null };
    }

    private MachineClass LookAtMachine()
    {
        var roundTrip = PingPong.Measure(_options.ServerCpu, _options.ClientCpu, PingPongSeconds);
        RoundTripsNanoseconds.Add(roundTrip);
        return MachineClasses.Of(roundTrip);
    }

    private static Sample RunLoad(LoadOptions load)
    {
        var result = RunLoadForResult(load);
        return new Sample(result.Iops, result.P999Microseconds, null);
    }

    private static LoadResult RunLoadForResult(LoadOptions load)
    {
        using var generator = new LoadGenerator(load);
        return OwnThread.Run(generator.Run);
    }

    private Sample RunCopy(CopyLoop loop, Pattern pattern, bool isWrite) => RunBare(() => loop.Run(pattern, isWrite, _options.Seconds));

    /// <summary>
    /// Runs a bare loop on the server's CPU while the client's CPU polls, as it does when a server is measured: where both are hyperthreads of one core, the loop has as
    /// much of the core as the server had.
    /// </summary>
    private Sample RunBare(Func<double> loop)
    {
        var isOver = 0;
        var client = new Thread(() =>
        {
            Scheduling.PinCurrentThread(_options.ClientCpu);
            while (Volatile.Read(ref isOver) == 0)
            {
                // Without a pause, as the client.
            }
        });
        if (_options.ClientCpu != _options.ServerCpu)
        {
            client.Start();
        }

        try
        {
            return new Sample(OnCpu(_options.ServerCpu, loop), null, null);
        }
        finally
        {
            Volatile.Write(ref isOver, 1);
            if (_options.ClientCpu != _options.ServerCpu)
            {
                client.Join();
            }
        }
    }

    private static T OnCpu<T>(int cpu, Func<T> work) => OwnThread.Run(() =>
    {
        Scheduling.PinCurrentThread(cpu);
        return work();
    });
}
