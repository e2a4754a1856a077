using System.Collections.Concurrent;
using Vhost.Abstractions;
using Vhost.Host.Loading;
using Vhost.Host.Manifest;

namespace Vhost.Host.Tests;

/// <summary>Factories of parts that write down what happens to them, and hang or throw where a test says so.</summary>
internal sealed class FakeParts
{
    private readonly ConcurrentQueue<string> _events = new();

    /// <summary>Events such as <c>start b1</c>, in order.</summary>
    public IReadOnlyList<string> Events => [.. _events];

    /// <summary>Events that throw.</summary>
    public HashSet<string> Throws { get; } = [];

    /// <summary>Events that never return and look at no token.</summary>
    public HashSet<string> Hangs { get; } = [];

    public void Record(string what)
    {
        _events.Enqueue(what);
        if (Throws.Contains(what))
        {
            throw new InvalidOperationException($"{what} failed on purpose");
        }

        if (Hangs.Contains(what))
        {
            Thread.Sleep(TimeSpan.FromSeconds(60));
        }
    }

    public BoundBdevSource Source(string name, params string[] buildsOn)
    {
        var declaration = new BdevDeclaration { PublishedNames = [name], BuildsOn = [.. buildsOn.Select(below => new BdevReference("bdev", below))] };
        return new BoundBdevSource(name, "fake", new SourceFactory(this, declaration), new object(), declaration, IsShared: false);
    }

    public BoundTransport Transport(string name, string? endpoint = null) =>
        new(name, "fake", new FakeTransportFactory(this), new object(), endpoint ?? $"/tmp/{name}");

    public BoundController Controller(string name, string transport, string bdev) =>
        new(name, "fake", new FakeDeviceFactory(this, bdev), new object(), transport, [new BdevReference("bdev", bdev)], []);

    public BoundManifest Manifest(IReadOnlyList<BoundBdevSource> sources, params (BoundController Controller, BoundTransport Transport)[] controllers) => new()
    {
        FileName = "test.json",
        Plugins = new PluginCatalog([], []),
        Reactors = new BoundReactors([], ReactorMode.Adaptive),
        Bdevs = sources,
        Transports = [.. controllers.Select(pair => pair.Transport)],
        Controllers = [.. controllers.Select(pair => pair.Controller)],
    };

    private abstract class FactoryBase : IPartFactory
    {
        public string Description => "A fake.";

        public Type OptionsType => typeof(object);

        public object CreateDefaultOptions() => new();

        public void Validate(object options, IOptionsErrors errors)
        {
        }
    }

    private sealed class SourceFactory(FakeParts parts, BdevDeclaration declaration) : FactoryBase, IBdevFactory
    {
        public BdevDeclaration Declare(string name, object options) => declaration;

        public IBdevSource Create(BdevSourceContext context, object options)
        {
            parts.Record($"create {context.Name}");
            return new FakeSource(parts, context);
        }
    }

    private sealed class FakeSource(FakeParts parts, BdevSourceContext context) : IBdevSource
    {
        public ValueTask StartAsync(CancellationToken cancellationToken)
        {
            parts.Record($"start {context.Name}");
            context.Publisher.Publish(new FaultyBdev(context.Name, 16, BlockOperations.Read | BlockOperations.Write));
            return ValueTask.CompletedTask;
        }

        public ValueTask DisposeAsync()
        {
            parts.Record($"dispose {context.Name}");
            return ValueTask.CompletedTask;
        }
    }

    private sealed class FakeDeviceFactory(FakeParts parts, string bdev) : FactoryBase, IDeviceTypeFactory
    {
        public bool AllowsSharedBdevs => false;

        public IReadOnlyList<BdevReference> GetBdevReferences(object options) => [new BdevReference("bdev", bdev)];

        public IVirtioDevice Create(DeviceContext context, object options)
        {
            parts.Record($"create {context.Name}");
            Assert.Equal(bdev, context.GetBdev(bdev).Name);
            return new FakeDevice(parts, context.Name);
        }
    }

    private sealed class FakeDevice(FakeParts parts, string name) : IVirtioDevice
    {
        public uint DeviceId => 2;

        public ulong OfferedFeatures => 0;

        public int MaxQueueCount => 1;

        public int MaxQueueSize => 128;

        public bool RequiresConfigAccess => false;

        public int ConfigLengthBytes => 0;

        public void ReadConfig(int offsetBytes, Span<byte> destination) => destination.Clear();

        public bool WriteConfig(int offsetBytes, ReadOnlySpan<byte> source) => false;

        public IVirtioSession OpenSession(IFrontEnd frontEnd) => throw new InvalidOperationException("nobody connects to a fake");

        public ValueTask DisposeAsync()
        {
            parts.Record($"dispose {name}");
            return ValueTask.CompletedTask;
        }
    }

    private sealed class FakeTransportFactory(FakeParts parts) : FactoryBase, ITransportFactory
    {
        public string GetEndpoint(object options) => "fake";

        public ITransport Create(TransportContext context, object options)
        {
            parts.Record($"create {context.Name}");
            return new FakeTransport(parts, context.Name);
        }
    }

    private sealed class FakeTransport(FakeParts parts, string name) : ITransport
    {
        public string Endpoint => name;

        public string Status => "listening";

        public ValueTask StartAsync(IVirtioDevice device, CancellationToken cancellationToken)
        {
            parts.Record($"start {name}");
            return ValueTask.CompletedTask;
        }

        public ValueTask StopAsync(CancellationToken cancellationToken)
        {
            parts.Record($"stop {name}");
            return ValueTask.CompletedTask;
        }

        public ValueTask DisposeAsync()
        {
            parts.Record($"dispose {name}");
            return ValueTask.CompletedTask;
        }
    }
}
