using System.Diagnostics;

namespace Vhost.Host.Loading.Tests;

/// <summary>Runs the real executable, bounded in time.</summary>
internal static class Vhostd
{
    public static string Executable => PluginFolder.Metadata("VhostdExecutable");

    public static (int Code, string Output, string Error) Run(params string[] arguments) => Run(new Dictionary<string, string>(), arguments);

    public static (int Code, string Output, string Error) Run(Dictionary<string, string> environment, params string[] arguments)
    {
        using Process process = Start(environment, arguments);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(TimeSpan.FromSeconds(60)))
        {
            process.Kill();
            throw new TimeoutException($"vhostd {string.Join(' ', arguments)} does not end");
        }

        return (process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }

    public static Process Start(Dictionary<string, string>? environment, params string[] arguments)
    {
        var start = new ProcessStartInfo(Executable, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in environment ?? [])
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }
}
