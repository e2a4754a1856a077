namespace Vhost.Scsi.Conformance;

/// <summary><c>scsi-conformance /dev/sgN...</c>: checks disks, whose content is lost. Exit code 0 if they are as they must be, 1 if not, 2 if that cannot be told.</summary>
internal static class Program
{
    private static int Main(string[] arguments)
    {
        if (arguments.Length == 0)
        {
            Console.Error.WriteLine("usage: scsi-conformance /dev/sgN...   (what is on the disks is lost)");
            return 2;
        }

        var exitCode = 0;
        foreach (var path in arguments)
        {
            try
            {
                using var port = new SgPort(path);
                var result = Suite.Run(port);
                foreach (var failure in result.Failures)
                {
                    Console.WriteLine($"{path}: {failure}");
                }

                Console.WriteLine($"{path}: {result.Rules} rules, {result.Commands} commands, {result.Failures.Count} failures");
                exitCode = Math.Max(exitCode, result.Failures.Count == 0 ? 0 : 1);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or InvalidOperationException or System.ComponentModel.Win32Exception)
            {
                Console.Error.WriteLine($"{path}: {exception.Message}");
                exitCode = 2;
            }
        }

        return exitCode;
    }
}
