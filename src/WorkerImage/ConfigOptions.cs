using System.CommandLine;

namespace DeepSpeedSharp.Worker;

/// <summary>The options of <c>train</c> that name the config: Hugging Face's <c>--deepspeed FILE</c>, and
/// <c>--deepspeed --deepspeed_config FILE</c> of DeepSpeed's own scripts.</summary>
internal sealed class ConfigOptions
{
    private readonly Option<string?> _deepSpeed = new("--deepspeed")
    {
        HelpName = "FILE",
        Arity = ArgumentArity.ZeroOrOne,
        Description = "DeepSpeed JSON config (default: the file named by DSJ_CONFIG); a switch where --deepspeed_config names the file",
    };

    private readonly Option<string?> _config = new("--deepspeed_config", "--deepspeed-config") { HelpName = "FILE", Description = "The same" };

    /// <summary>Adds the options to a command that needs a config.</summary>
    /// <param name="command">The command.</param>
    /// <param name="variable">Gives the value of a variable of the environment, or null.</param>
    public void AddTo(Command command, Func<string, string?> variable)
    {
        command.Add(_deepSpeed);
        command.Add(_config);
        command.Validators.Add(r =>
        {
            if (r.GetValue(_deepSpeed) is { Length: > 0 } one && r.GetValue(_config) is { } other && one != other)
            {
                r.AddError($"--deepspeed {one} and --deepspeed_config {other} are two configs; keep one of them");
            }

            if (PathIn(r.GetValue) is null && variable("DSJ_CONFIG") is null)
            {
                r.AddError("no DeepSpeed config: give --deepspeed FILE, or set DSJ_CONFIG");
            }
        });
    }

    /// <summary>The path of the config that was given; null for none.</summary>
    /// <param name="valueOf">Gives the value of an option.</param>
    public string? PathIn(Func<Option<string?>, string?> valueOf) => valueOf(_config) ?? (valueOf(_deepSpeed) is { Length: > 0 } path ? path : null);
}
