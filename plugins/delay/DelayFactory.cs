using Vhost.Abstractions;

namespace Vhost.Plugins.Delay;

/// <summary>Makes <see cref="DelayBdev"/>s from the manifest.</summary>
[ExportBdev("delay")]
public sealed class DelayFactory : BdevFactory<DelayOptions>
{
    /// <inheritdoc/>
    public override string Description => "Makes another bdev slow, by type of operation: for drills and tests.";

    /// <inheritdoc/>
    protected override void Validate(DelayOptions options, IOptionsErrors errors)
    {
        Check(nameof(options.ReadP99Us), options.ReadAverageUs, options.ReadP99Us);
        Check(nameof(options.WriteP99Us), options.WriteAverageUs, options.WriteP99Us);
        Check(nameof(options.FlushP99Us), options.FlushAverageUs, options.FlushP99Us);

        void Check(string name, double average, double? p99)
        {
            if (p99 < average)
            {
                errors.Add(char.ToLowerInvariant(name[0]) + name[1..], $"{p99} is less than the {average} of the other requests");
            }
        }
    }

    /// <inheritdoc/>
    protected override BdevDeclaration Declare(string name, DelayOptions options) =>
        new() { PublishedNames = [name], BuildsOn = [new BdevReference("bdev", options.Bdev)] };

    /// <inheritdoc/>
    protected override IBdevSource Create(BdevSourceContext context, DelayOptions options) =>
        new WrappingBdevSource(context, options.Bdev, below => new DelayBdev(context.Name, below, options));
}
