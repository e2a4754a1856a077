namespace Vhost.Host.Cli;

/// <summary>What <c>vhostd</c> tells its caller.</summary>
public static class ExitCode
{
    /// <summary>All went well.</summary>
    public const int Success = 0;

    /// <summary>The command line and the manifest are right, but something failed.</summary>
    public const int Failure = 1;

    /// <summary>The command line or the manifest is wrong; nothing was started.</summary>
    public const int Usage = 2;
}
