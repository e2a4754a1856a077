using System.Text;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>A part of a scenario that can say what state it is in.</summary>
internal interface IDiagnosable
{
    /// <summary>Log, console and state, for the message of a failed test.</summary>
    string Diagnose();
}

/// <summary>
/// One fresh directory with the processes that run in it. Whatever fails inside <see cref="WatchAsync"/> is reported with the logs of all
/// of them; disposing ends them all and removes the directory.
/// </summary>
internal sealed class Scenario : IAsyncDisposable
{
    private readonly List<IAsyncDisposable> _parts = [];
    private readonly string _directory = Directory.CreateTempSubdirectory("vhostd-e2e-").FullName;

    /// <summary>The path of a file or socket of this scenario.</summary>
    public string FilePath(string name) => Path.Combine(_directory, name);

    /// <summary>Makes a part belong to this scenario: it is diagnosed with it, and disposed with it, the last one first.</summary>
    public T Add<T>(T part)
        where T : IAsyncDisposable
    {
        _parts.Add(part);
        return part;
    }

    /// <summary>Runs a body; a failure gets the state of every part into its message.</summary>
    public async Task WatchAsync(Func<Task> body)
    {
        try
        {
            await body();
        }
        catch (Exception e)
        {
            throw new EndToEndException($"{e.Message}\n{Diagnose()}\n{e.StackTrace}", e);
        }
    }

    /// <summary>Runs a body that gives a value; a failure gets the state of every part into its message.</summary>
    public async Task<T> WatchAsync<T>(Func<Task<T>> body)
    {
        T? result = default;
        await WatchAsync(async () => { result = await body(); });
        return result!;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        List<Exception> failures = [];
        foreach (IAsyncDisposable part in _parts.AsEnumerable().Reverse())
        {
            try
            {
                await part.DisposeAsync();
            }
            catch (Exception e)
            {
                failures.Add(e);
            }
        }

        _parts.Clear();
        Directory.Delete(_directory, recursive: true);
        if (failures.Count > 0)
        {
            throw new AggregateException("a part did not end", failures);
        }
    }

    private string Diagnose()
    {
        var text = new StringBuilder();
        foreach (IDiagnosable part in _parts.OfType<IDiagnosable>())
        {
            text.Append(part.Diagnose()).Append('\n');
        }

        return text.ToString();
    }
}
