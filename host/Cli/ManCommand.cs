using System.CommandLine;
using System.Text;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd man</c>: the manual page, made of the table of commands, so that it says what <c>--help</c> says. For packages; not shown.</summary>
internal static class ManCommand
{
    /// <summary>Makes the command.</summary>
    /// <param name="root">The table.</param>
    internal static Command Create(RootCommand root)
    {
        var command = new Command("man", "Print the manual page (roff).") { Hidden = true };
        command.SetAction(parsed => parsed.InvocationConfiguration.Output.Write(Make(root)));
        return command;
    }

    /// <summary>Makes the page.</summary>
    /// <param name="root">The table.</param>
    internal static string Make(RootCommand root)
    {
        var page = new StringBuilder();
        page.Append(".TH VHOSTD 8 \"\" \"vhostd ").Append(Escape(VersionCommand.Version.Split('+')[0])).Append("\" \"System administration\"\n");
        Section(page, "NAME");
        page.Append("vhostd \\- block storage for virtual machines over vhost-user and virtio-vhost-user\n");
        Section(page, "SYNOPSIS");
        page.Append(".B vhostd run\n.I MANIFEST\n[options]\n.br\n.B vhostd\n[\\fB\\-S\\fR \\fIDIR|ADDRESS\\fR] [\\fB\\-T unix\\fR|\\fBvvu\\fR] [\\fB\\-m\\fR \\fICPUMASK\\fR] [\\fB\\-r\\fR \\fISOCKET\\fR]\n.br\n.B vhostd\n.I COMMAND\n[arguments] [options]\n");
        Section(page, "DESCRIPTION");
        string[] description = root.Description!.ReplaceLineEndings("\n").Split("\n\n");
        page.Append(Escape(description[0])).Append('\n');
        Section(page, "OPTIONS WITHOUT A COMMAND");
        page.Append("As SPDK's vhost is started: nothing is served at first, and RPC fills it.\n");
        Options(page, root);
        Section(page, "COMMANDS");
        foreach (Command command in root.Subcommands.Where(known => !known.Hidden))
        {
            Describe(page, command, "vhostd");
        }

        Section(page, "EXAMPLES");
        page.Append(".nf\n");
        foreach (string line in description[1].Split('\n').Skip(1))
        {
            page.Append(Escape(line.Trim())).Append('\n');
        }

        page.Append(".fi\n");
        Section(page, "EXIT STATUS");
        page.Append(".TP\n.B 0\nAll went well; for what serves: stopped by a signal or RPC, in order.\n");
        page.Append(".TP\n.B 1\nThe command line and the manifest are right, but something failed; for \\fBhealth\\fR: not healthy.\n");
        page.Append(".TP\n.B 2\nThe command line or the manifest is wrong; nothing was started or changed.\n");
        Section(page, "SIGNALS");
        page.Append("SIGTERM and SIGINT stop in order within 5 seconds; a second one stops at once.\n");
        Section(page, "ENVIRONMENT");
        page.Append(".TP\n.BI VHOSTD_ section__name__key = value\nOverrides a value of the manifest.\n");
        page.Append(".TP\n.BR NOTIFY_SOCKET \", \" WATCHDOG_USEC\nSet by systemd: where it is told of readiness, and how often of life.\n");
        Section(page, "FILES");
        page.Append(".TP\n.I /etc/vhostd/vhostd.json\nThe manifest of the service.\n.TP\n.I /var/tmp/spdk.sock\nThe RPC socket of a start without a manifest, and where the commands that ask look.\n.TP\n.I /usr/share/doc/vhostd\nThe manual.\n");
        Section(page, "SEE ALSO");
        page.Append(".BR qemu-system-x86_64 (1),\n.BR systemctl (1)\n");
        return page.ToString();
    }

    private static void Describe(StringBuilder page, Command command, string parent)
    {
        string name = $"{parent} {command.Name}";
        page.Append(".SS ").Append(Escape(name));
        foreach (Argument argument in command.Arguments)
        {
            page.Append(" \\fI").Append(Escape(argument.HelpName ?? argument.Name)).Append("\\fR");
        }

        page.Append('\n').Append(Escape(command.Description ?? "")).Append('\n');
        foreach (Argument argument in command.Arguments)
        {
            page.Append(".TP\n.I ").Append(Escape(argument.HelpName ?? argument.Name)).Append('\n').Append(Escape(argument.Description ?? "")).Append('\n');
        }

        Options(page, command);
        if (command is ExampleCommand { Examples.Count: > 0 } known)
        {
            page.Append(".PP\n.nf\n");
            foreach (string example in known.Examples)
            {
                page.Append(Escape(example)).Append('\n');
            }

            page.Append(".fi\n");
        }

        foreach (Command child in command.Subcommands.Where(child => !child.Hidden))
        {
            Describe(page, child, name);
        }
    }

    private static void Options(StringBuilder page, Command command)
    {
        foreach (Option option in command.Options.Where(option => !option.Hidden))
        {
            IEnumerable<string> names = option.Aliases.Prepend(option.Name).Distinct().Where(alias => alias[0] == '-').OrderBy(alias => alias.Length).Select(alias => $"\\fB{Escape(alias)}\\fR");
            string value = option.ValueType == typeof(bool) || option.HelpName is null ? "" : $" \\fI{Escape(option.HelpName)}\\fR";
            page.Append(".TP\n").Append(string.Join(", ", names)).Append(value).Append('\n').Append(Escape(option.Description ?? "")).Append('\n');
        }
    }

    private static void Section(StringBuilder page, string title) => page.Append(".SH ").Append(title).Append('\n');

    private static string Escape(string text)
    {
        string escaped = text.ReplaceLineEndings(" ").Replace("\\", "\\e", StringComparison.Ordinal).Replace("-", "\\-", StringComparison.Ordinal).Replace("├", "|", StringComparison.Ordinal);
        return escaped.Length > 0 && escaped[0] is '.' or '\'' ? $"\\&{escaped}" : escaped;
    }
}
