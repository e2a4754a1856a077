using System.Reflection;

namespace Vhost.Host.Loading;

/// <summary>Says what a plugin misses when its code cannot be loaded.</summary>
internal static class TypeLoadFailure
{
    /// <summary>Whether an exception, or what caused it, means that code cannot be loaded.</summary>
    /// <param name="exception">The exception.</param>
    internal static bool IsOne(Exception exception) => Cause(exception) is not null;

    /// <summary>Describes failures, each once, with the assembly version wanted and found.</summary>
    /// <param name="location">The plugin.</param>
    /// <param name="exceptions">What the runtime says.</param>
    internal static PluginProblem Describe(PluginLocation location, IEnumerable<Exception?> exceptions)
    {
        string[] failures = [.. exceptions.OfType<Exception>()
            .SelectMany(exception => exception is ReflectionTypeLoadException many ? many.LoaderExceptions.OfType<Exception>() : [exception])
            .Select(exception => Describe(location, Cause(exception) ?? exception))
            .Distinct(StringComparer.Ordinal)];
        return new(PluginProblemCode.LoadFailed, location.Id, location.File,
            $"its code cannot be loaded: {string.Join("; ", failures)}",
            "Publish the plugin with everything that it needs (dotnet publish), against the versions that the Vhost.Abstractions package asks for");
    }

    private static Exception? Cause(Exception? exception)
    {
        for (; exception is not null; exception = exception.InnerException)
        {
            if (exception is FileNotFoundException or FileLoadException or TypeLoadException or BadImageFormatException
                or MissingMemberException or ReflectionTypeLoadException or DllNotFoundException)
            {
                return exception;
            }
        }

        return null;
    }

    private static string Describe(PluginLocation location, Exception exception)
    {
        string? wanted = exception switch
        {
            FileNotFoundException missing => missing.FileName,
            FileLoadException mismatch => mismatch.FileName,
            _ => null,
        };
        if (wanted is null || !wanted.Contains("Version=", StringComparison.Ordinal))
        {
            return exception.Message.TrimEnd('.').ReplaceLineEndings(" ");
        }

        var name = new AssemblyName(wanted);
        string file = Path.Combine(location.Directory, name.Name + ".dll");
        return File.Exists(file)
            ? $"it wants {name.Name} {name.Version} and finds {AssemblyName.GetAssemblyName(file).Version} in {file}"
            : $"it wants {name.Name} {name.Version}, which is neither in its folder nor part of the host";
    }
}
