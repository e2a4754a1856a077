using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace Vhost.Host.Cli;

/// <summary>
/// The life of a serving process: logging, start, the ready line, signals, and a stop that is bounded in time. A first SIGTERM or SIGINT
/// stops in order; a second one, or a stop that does not end, ends the process at once.
/// </summary>
/// <param name="createServer">Makes what is served; its last argument stops the service.</param>
/// <param name="output">Takes the ready line.</param>
/// <param name="logLevel">The least important messages that are logged.</param>
/// <param name="logFormat">How log messages look.</param>
internal sealed partial class VhostdService(Func<ILoggerFactory, Action, IManifestServer> createServer, Output output, LogLevel logLevel, LogFormat logFormat)
{
    /// <summary>What an orderly stop may take.</summary>
    internal static readonly TimeSpan OrderlyStop = TimeSpan.FromSeconds(4);

    /// <summary>When the process ends, orderly or not.</summary>
    internal static readonly TimeSpan LatestStop = TimeSpan.FromSeconds(4.8);

    /// <summary>Serves until a signal.</summary>
    /// <param name="what">What is served, for the ready line.</param>
    /// <param name="cancellationToken">Stops as a signal does.</param>
    /// <returns>The exit code.</returns>
    internal async Task<int> RunAsync(string what, CancellationToken cancellationToken)
    {
        HostApplicationBuilder builder = Microsoft.Extensions.Hosting.Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { ApplicationName = "vhostd" });
        ConfigureLogging(builder.Logging);
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = OrderlyStop);
        builder.Services.Configure<ConsoleLifetimeOptions>(options => options.SuppressStatusMessages = true);
        IManifestServer? server = null;
        builder.Services.AddHostedService(services => new Adapter(server = createServer(
            services.GetRequiredService<ILoggerFactory>(),
            services.GetRequiredService<IHostApplicationLifetime>().StopApplication)));
        IHost host = builder.Build();
        await using var hostDisposal = ((IAsyncDisposable)host).ConfigureAwait(false);
        ILogger logger = host.Services.GetRequiredService<ILoggerFactory>().CreateLogger("vhostd");
        var lifetime = host.Services.GetRequiredService<IHostApplicationLifetime>();

        int signals = 0;
        void OnSignal(PosixSignalContext context)
        {
            context.Cancel = true;
            if (Interlocked.Increment(ref signals) > 1)
            {
                Environment.Exit(ExitCode.Failure);
            }
        }

        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
        using var latest = new Timer(_ =>
        {
            output.Error("error: the stop took too long; the process ends without waiting for what still runs");
            Environment.Exit(ExitCode.Failure);
        });
        using CancellationTokenRegistration stopping = lifetime.ApplicationStopping.Register(() => latest.Change(LatestStop, Timeout.InfiniteTimeSpan));

        try
        {
            await host.StartAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (signals > 0 || cancellationToken.IsCancellationRequested)
        {
            LogStartGivenUp(logger);
            latest.Change(LatestStop, Timeout.InfiniteTimeSpan);
            return ExitCode.Success;
        }
        catch (Exception exception)
        {
            LogStartFailed(logger, exception.Message);
            LogStartFailure(logger, exception);
            latest.Change(LatestStop, Timeout.InfiniteTimeSpan);
            return ExitCode.Failure;
        }

        foreach (string notice in server?.Notices ?? [])
        {
            output.Line(notice);
        }

        // ApplicationStopping cancels a start, but a start that completed all the same is stopped below like any other.
        double startMilliseconds = (DateTime.Now - Process.GetCurrentProcess().StartTime).TotalMilliseconds;
        output.Line(FormattableString.Invariant($"vhostd is ready: {what}, {startMilliseconds:F0} ms after its start"));
        await host.WaitForShutdownAsync(cancellationToken).ConfigureAwait(false);
        LogStopped(logger);

        // Who asked for the stop because something failed has said so; a supervisor starts the process again then.
        return Environment.ExitCode;
    }

    private void ConfigureLogging(ILoggingBuilder logging)
    {
        // RPC clients change the level while it runs, so the filter asks for it at each message.
        Rpc.LogLevels.OfProcess.StartLevel = logLevel;
        logging.SetMinimumLevel(LogLevel.Trace);
        logging.AddFilter((category, level) => Rpc.LogLevels.OfProcess.IsEnabled(category, level));
        // The runtime's host tells of a failed start with a stack trace; LogStartFailed does in a line.
        logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None);
        if (logFormat == LogFormat.Json)
        {
            logging.AddJsonConsole(options =>
            {
                options.TimestampFormat = "yyyy-MM-ddTHH:mm:ss.fffZ";
                options.UseUtcTimestamp = true;
            });
        }
        else
        {
            logging.AddSimpleConsole(options =>
            {
                options.SingleLine = true;
                options.TimestampFormat = "yyyy-MM-dd HH:mm:ss.fff ";
            });
        }

        // Standard output is for the ready line and for programs.
        logging.Services.Configure<ConsoleLoggerOptions>(options => options.LogToStandardErrorThreshold = LogLevel.Trace);
    }

    [LoggerMessage(1, LogLevel.Information, "The start was given up because of a signal")]
    private static partial void LogStartGivenUp(ILogger logger);

    [LoggerMessage(2, LogLevel.Critical, "Cannot start: {Reason}")]
    private static partial void LogStartFailed(ILogger logger, string reason);

    [LoggerMessage(3, LogLevel.Debug, "Where the start failed")]
    private static partial void LogStartFailure(ILogger logger, Exception exception);

    [LoggerMessage(4, LogLevel.Information, "Stopped")]
    private static partial void LogStopped(ILogger logger);

    /// <summary>Lets the generic host start, stop and dispose the server.</summary>
    private sealed class Adapter(IManifestServer server) : IHostedService, IAsyncDisposable
    {
        public Task StartAsync(CancellationToken cancellationToken) => server.StartAsync(cancellationToken);

        public Task StopAsync(CancellationToken cancellationToken) => server.StopAsync(cancellationToken);

        public ValueTask DisposeAsync() => server.DisposeAsync();
    }
}
