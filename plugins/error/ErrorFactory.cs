using Vhost.Abstractions;

namespace Vhost.Plugins.Error;

/// <summary>Makes <see cref="ErrorBdev"/>s from the manifest.</summary>
[ExportBdev("error")]
public sealed class ErrorFactory : BdevFactory<ErrorOptions>
{
    /// <inheritdoc/>
    public override string Description => "Lets requests of another bdev fail, hang or return wrong data: for drills and tests.";

    /// <inheritdoc/>
    protected override void Validate(ErrorOptions options, IOptionsErrors errors)
    {
        for (var i = 0; i < options.Rules.Count; i++)
        {
            if (options.Rules[i] is { Action: ErrorAction.Corrupt, Operation: not (ErrorOperation.Read or ErrorOperation.Write) })
            {
                errors.Add($"rules.{i}.operation", "only the data of a read or a write can be corrupted; say read or write");
            }
        }
    }

    /// <inheritdoc/>
    protected override BdevDeclaration Declare(string name, ErrorOptions options) =>
        new() { PublishedNames = [name], BuildsOn = [new BdevReference("bdev", options.Bdev)] };

    /// <inheritdoc/>
    protected override IBdevSource Create(BdevSourceContext context, ErrorOptions options) =>
        new WrappingBdevSource(context, options.Bdev, below => new ErrorBdev(context.Name, below, options));
}
