using System.CommandLine;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed completion SHELL</c>: prints what a shell reads to complete this program's words.</summary>
/// <remarks>The shells ask this program for the words (<see cref="Mode"/>), so that they are always those of the options it
/// really has; files are left to the shell.</remarks>
internal static class CompletionCommand
{
    /// <summary>First argument of the question that the shells ask; the words of the command line follow.</summary>
    public const string Mode = "complete-words";

    private static readonly Dictionary<string, string> Scripts = new()
    {
        ["bash"] = """
            # eval "$(deepspeed completion bash)", for example in ~/.bashrc
            _deepspeed() {
              local IFS=$'\n' words
              words=$("${COMP_WORDS[0]}" complete-words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return
              if [ "$words" = :files ]; then
                compopt -o default 2>/dev/null
                COMPREPLY=()
              else
                COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
              fi
            }
            complete -F _deepspeed deepspeed
            """,
        ["zsh"] = """
            # eval "$(deepspeed completion zsh)", for example in ~/.zshrc after compinit
            _deepspeed() {
              local -a words_found
              words_found=("${(@f)$("${words[1]}" complete-words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
              if [[ "${words_found[1]}" == :files ]]; then
                _files
              else
                compadd -- "${words_found[@]}"
              fi
            }
            compdef _deepspeed deepspeed
            """,
        ["fish"] = """
            # deepspeed completion fish > ~/.config/fish/completions/deepspeed.fish
            function __deepspeed_words
              set -l words (commandline -opc) (commandline -ct)
              set -l found ($words[1] complete-words $words[2..-1] 2>/dev/null)
              if test "$found[1]" = :files
                __fish_complete_path (commandline -ct)
              else
                printf '%s\n' $found
              end
            end
            complete -c deepspeed -f -a '(__deepspeed_words)'
            """,
    };

    public static Command Create()
    {
        var shell = new Argument<string>("SHELL") { Description = "bash, zsh or fish. The first line of what is printed says where it goes." };
        shell.AcceptOnlyFromAmong([.. Scripts.Keys]);
        var command = new Command("completion") { shell };
        command.SetAction(parsed =>
        {
            Console.Out.WriteLine(Scripts[parsed.GetValue(shell)!]);
            return ExitCodes.Done;
        });
        return command;
    }

    /// <summary>Prints the words that may come next, one a line; <c>:files</c> when that is the shell's to know.</summary>
    /// <param name="words">The words so far; the last one, perhaps empty, is being written.</param>
    public static int Answer(string[] words)
    {
        IReadOnlyList<string> next = words is [var first, _, ..] && CommandTable.Find(first) is { } command
            ? CommandWords.Next(command.ToCommand(), words[1..]) : Completion.Next(words);
        foreach (string word in next)
        {
            Console.Out.WriteLine(word);
        }

        return ExitCodes.Done;
    }
}
