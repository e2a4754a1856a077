using System.ComponentModel.DataAnnotations;
using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.ContractKit;

/// <summary>
/// A source as the host would run it: validated, started, its bdevs published, its channels opened on reactors that the test turns.
/// </summary>
public sealed class BdevHarness : IBdevPublisher, IDisposable
{
    private readonly Dictionary<string, IBdev> _bdevs = [];
    private readonly List<string> _changes = [];
    private readonly List<string> _withdrawals = [];
    private readonly IBdevSource _source;
    private readonly BdevDeclaration _declaration;

    public BdevHarness(IBdevFactory factory, object options, string name = "Bdev0", Func<string, IBdevPort>? getBdev = null, IMemoryRegistry? memory = null)
    {
        Assert.Empty(Faults(factory, options));
        _declaration = factory.Declare(name, options);
        _source = factory.Create(
            new BdevSourceContext
            {
                Name = name,
                Publisher = this,
                Memory = memory ?? new NoMemory(),
                Reactors = Reactors,
                Logger = Log,
                GetBdev = getBdev ?? (other => throw new InvalidOperationException($"the source did not declare that it builds on {other}")),
            },
            options);
    }

    /// <summary>Two reactors; both turn on the test's thread.</summary>
    public ManualReactor[] Reactors { get; } = [new(0), new(1)];

    /// <summary>What was logged.</summary>
    public ListLogger Log { get; } = new();

    /// <summary>The bdevs that are published.</summary>
    public IReadOnlyDictionary<string, IBdev> Bdevs
    {
        get
        {
            lock (_changes)
            {
                return new Dictionary<string, IBdev>(_bdevs);
            }
        }
    }

    /// <summary>The bdev that <see cref="Bdev"/> means, where a source publishes several; null for the only one.</summary>
    public string? BdevName { get; init; }

    /// <summary>Names and reasons given to <see cref="WithdrawAsync"/>.</summary>
    public string[] Withdrawals
    {
        get
        {
            lock (_changes)
            {
                return [.. _withdrawals];
            }
        }
    }

    /// <summary>Names given to <see cref="NotifyChanged"/>.</summary>
    public string[] Changes
    {
        get
        {
            lock (_changes)
            {
                return [.. _changes];
            }
        }
    }

    /// <summary>The only bdev, or the one that <see cref="BdevName"/> names.</summary>
    public IBdev Bdev => BdevName is null ? Assert.Single(Bdevs).Value : Bdevs.TryGetValue(BdevName, out var bdev) ? bdev : throw new InvalidOperationException($"{BdevName} is not there; log: {string.Join(" | ", Log.Lines)}");

    /// <summary>Makes a harness and starts the source.</summary>
    public static BdevHarness Start(IBdevFactory factory, object options, string name = "Bdev0", Func<string, IBdevPort>? getBdev = null)
    {
        var harness = new BdevHarness(factory, options, name, getBdev);
        try
        {
            harness.Start();
            return harness;
        }
        catch
        {
            harness.Dispose();
            throw;
        }
    }

    /// <summary>The faults that the factory and the attributes of the options find, as "path: message".</summary>
    public static IReadOnlyList<string> Faults(IBdevFactory factory, object options)
    {
        var errors = new ErrorList();
        factory.Validate(options, errors);
        var attributes = new List<ValidationResult>();
        Validator.TryValidateObject(options, new ValidationContext(options), attributes, validateAllProperties: true);
        errors.Items.AddRange(attributes.Select(result => $"{string.Join(",", result.MemberNames)}: {result.ErrorMessage}"));
        return errors.Items;
    }

    /// <summary>Starts the source. The test's thread is the reactors' thread too, and turns them meanwhile: a source may need them to start.</summary>
    public void Start() => Turn(_source.StartAsync(TestContext.Current.CancellationToken).AsTask());

    /// <summary>Turns the reactors until a condition holds.</summary>
    public void TurnUntil(Func<bool> condition, string what)
    {
        var start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            foreach (var reactor in Reactors)
            {
                reactor.Turn();
            }

            Thread.Yield();
            Assert.True(Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(120), $"{what} does not happen; log: {string.Join(" | ", Log.Lines)}");
        }
    }

    /// <summary>Opens a channel of the only bdev.</summary>
    public BdevDriver Open(int reactor = 0, int queueDepth = 64) =>
        new(Reactors[reactor], (IChannelBdev)Bdev, queueDepth) { AlsoTurns = TurnsAllReactors ? [.. Reactors.Where(other => other.Id != reactor)] : [] };

    /// <summary>Whether drivers turn every reactor while they wait: for one thread, and a source that recovers from faults.</summary>
    public bool TurnsAllReactors { get; init; }

    public void Publish(IBdev bdev)
    {
        Assert.Contains(_declaration.PublishedNames, pattern => Matches(pattern, bdev.Name));
        CheckInfo(bdev.Info);
        lock (_changes)
        {
            if (!_bdevs.TryAdd(bdev.Name, bdev))
            {
                throw new InvalidOperationException($"{bdev.Name} is taken");
            }
        }
    }

    public ValueTask WithdrawAsync(string name, string reason)
    {
        lock (_changes)
        {
            _bdevs.Remove(name);
            _withdrawals.Add($"{name}: {reason}");
        }

        return ValueTask.CompletedTask;
    }

    public void NotifyChanged(string name)
    {
        lock (_changes)
        {
            CheckInfo(_bdevs[name].Info);
            _changes.Add(name);
        }
    }

    public void Dispose()
    {
        foreach (var reactor in Reactors)
        {
            reactor.TurnUntilIdle();
        }

        Turn(_source.DisposeAsync().AsTask());
        Turn(_source.DisposeAsync().AsTask()); // must be harmless
    }

    private void Turn(Task task)
    {
        TurnUntil(() => task.IsCompleted, "what the source was asked for");
        task.GetAwaiter().GetResult();
    }

    private static bool Matches(string pattern, string name) =>
        System.Text.RegularExpressions.Regex.IsMatch(name, "^" + System.Text.RegularExpressions.Regex.Escape(pattern).Replace("\\*", "[0-9a-z]+", StringComparison.Ordinal) + "$");

    private static void CheckInfo(BdevInfo info)
    {
        Assert.InRange(info.BlockSizeBytes, 512u, 65536u);
        Assert.True(System.Numerics.BitOperations.IsPow2(info.BlockSizeBytes));
        Assert.True(info.BlockCount >= 1);
        Assert.True(info.BlockCount <= (ulong)long.MaxValue / info.BlockSizeBytes);
        Assert.True(info.Operations.HasFlag(BlockOperations.Read));
        Assert.Equal(0u, info.PhysicalBlockSizeBytes % info.BlockSizeBytes);
        Assert.True(info.ProductName.Length <= 16 && System.Text.Ascii.IsValid(info.ProductName));
        if (info.IsReadOnly)
        {
            Assert.Equal(BlockOperations.None, info.Operations & (BlockOperations.Write | BlockOperations.Discard | BlockOperations.WriteZeroes));
        }
    }

    private sealed class ErrorList : IOptionsErrors
    {
        public List<string> Items { get; } = [];

        public void Add(string path, string message) => Items.Add($"{path}: {message}");
    }

    private sealed class NoMemory : IMemoryRegistry, IDisposable
    {
        public IDisposable Register(MemoryRegion region) => this;

        public IDisposable Subscribe(IMemoryObserver observer) => this;

        public void Dispose()
        {
        }
    }
}

/// <summary>Keeps log lines.</summary>
public sealed class ListLogger : ILogger
{
    private readonly List<(LogLevel Level, string Text)> _lines = [];

    public (LogLevel Level, string Text)[] Lines
    {
        get
        {
            lock (_lines)
            {
                return [.. _lines];
            }
        }
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        lock (_lines)
        {
            _lines.Add((logLevel, exception is null ? formatter(state, exception) : $"{formatter(state, exception)}: {exception}"));
        }
    }
}
