using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Vhost.Host.Cli;

/// <summary>A command whose help ends in examples.</summary>
/// <param name="name">Its name.</param>
/// <param name="description">What it does: one paragraph.</param>
/// <param name="examples">Command lines, each with what it is for if that is not plain.</param>
internal sealed class ExampleCommand(string name, string description, params string[] examples) : Command(name, description)
{
    /// <summary>The examples.</summary>
    internal IReadOnlyList<string> Examples => examples;

    /// <summary>Lets the help of a command line show examples.</summary>
    /// <param name="root">The root command.</param>
    internal static void ShowIn(RootCommand root)
    {
        foreach (HelpOption option in root.Options.OfType<HelpOption>())
        {
            option.Action = new HelpWithExamples((HelpAction)option.Action!);
        }
    }

    private sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parseResult)
        {
            int code = help.Invoke(parseResult);
            if (parseResult.CommandResult.Command is ExampleCommand { Examples.Count: > 0 } command)
            {
                TextWriter output = parseResult.InvocationConfiguration.Output;
                output.WriteLine("Examples:");
                foreach (string example in command.Examples)
                {
                    output.WriteLine($"  {example}");
                }

                output.WriteLine();
            }

            return code;
        }
    }
}
