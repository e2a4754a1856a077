using System.Security.Cryptography;

namespace Vhost.Host.Dashboard;

/// <summary>The secret that a browser has to know.</summary>
/// <param name="Value">The token.</param>
/// <param name="IsFromFile">Whether its owner has it in a file already, so that it need not be printed.</param>
internal sealed record DashboardToken(string Value, bool IsFromFile)
{
    private const int MinLength = 16;

    /// <summary>Reads a file, or makes a token.</summary>
    /// <param name="file">The file, or null.</param>
    /// <exception cref="IOException">The file cannot be used; the message says why.</exception>
    internal static DashboardToken Get(string? file)
    {
        if (file is null)
        {
            return new DashboardToken(Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32)), false);
        }

        string text;
        try
        {
            text = File.ReadAllText(file).Trim();
            if ((File.GetUnixFileMode(file) & ~(UnixFileMode.UserRead | UnixFileMode.UserWrite)) != 0)
            {
                throw new IOException("others may read it; chmod 600 it");
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"the dashboard's token file {file} cannot be used: {exception.Message}", exception);
        }

        return text.Length >= MinLength && text.All(char.IsAsciiLetterOrDigit)
            ? new DashboardToken(text, true)
            : throw new IOException($"the dashboard's token file {file} has to hold at least {MinLength} letters and digits: openssl rand -hex 32 > {file}");
    }
}
