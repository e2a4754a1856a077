using System.CommandLine;

namespace Vhost.Host.Cli;

/// <summary><c>vhostd completion</c>: a script that makes a shell complete vhostd's command lines, by asking the program itself.</summary>
internal static class CompletionCommand
{
    /// <summary>The script for bash.</summary>
    internal const string Bash =
        """
        # bash completion for vhostd: the program itself says what may come next.
        _vhostd() {
          local current=${COMP_WORDS[COMP_CWORD]} IFS=$'\n'
          COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" "[suggest:${COMP_POINT}]" "${COMP_LINE}" 2>/dev/null)" -- "$current"))
          if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
        }
        complete -o bashdefault -o default -F _vhostd vhostd

        """;

    /// <summary>The script for zsh.</summary>
    internal const string Zsh =
        """
        #compdef vhostd
        # zsh completion for vhostd: the program itself says what may come next.
        _vhostd() {
          local -a found
          found=("${(@f)$("${words[1]}" "[suggest:$CURSOR]" "$BUFFER" 2>/dev/null)}")
          compadd -a -- found || _files
        }
        compdef _vhostd vhostd

        """;

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var shell = new Argument<string>("SHELL") { Description = "bash or zsh." };
        shell.AcceptOnlyFromAmong("bash", "zsh");
        var command = new ExampleCommand(
            "completion",
            "Print a script that makes a shell complete vhostd's command lines.",
            "source <(vhostd completion bash)                          for this shell",
            "vhostd completion bash > /etc/bash_completion.d/vhostd    for all")
        {
            shell,
        };
        command.SetAction(parsed => parsed.InvocationConfiguration.Output.Write((parsed.GetValue(shell) == "zsh" ? Zsh : Bash).ReplaceLineEndings("\n")));
        return command;
    }
}
