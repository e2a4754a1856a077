using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.VvuTopology.Tests;

/// <summary>The page's vvu-device processes.</summary>
internal static class VvuDevices
{
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(120);

    /// <summary>Starts them all, and waits until both kinds of QEMU may connect.</summary>
    public static async Task StartAsync(Scenario scenario)
    {
        int number = 0;
        foreach (IReadOnlyList<string> command in Guide.Commands("vvu-device"))
        {
            await StartAsync(scenario, $"vvu-device {number++}", Guide.Arguments(command, scenario));
        }
    }

    /// <summary>Starts one, and waits until both sides may connect.</summary>
    public static async Task StartAsync(Scenario scenario, string name, IEnumerable<string> arguments)
    {
        ChildProcess device = scenario.Add(new Part(ChildProcess.Start(name, TestEnvironment.VvuDevice, arguments))).Process;
        await Deadline.UntilAsync($"{name} is ready", StartTimeout, () => device.StandardError.Contains("ready:", StringComparison.Ordinal));
    }

    private sealed class Part(ChildProcess process) : IAsyncDisposable, IDiagnosable
    {
        public ChildProcess Process => process;

        public string Diagnose() => process.Diagnose();

        public ValueTask DisposeAsync()
        {
            process.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
