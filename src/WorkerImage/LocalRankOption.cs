using System.CommandLine;

namespace DeepSpeedSharp.Worker;

/// <summary><c>--local_rank=N</c>, which DeepSpeed's launcher gives a program as its first argument.</summary>
internal static class LocalRankOption
{
    /// <summary>Makes the option; it may come before and after the command.</summary>
    /// <param name="place">Value of LOCAL_RANK, which is what counts; null when it is not set.</param>
    public static Option<int?> Create(string? place)
    {
        var option = new Option<int?>("--local_rank", "--local-rank") { HelpName = "N", Recursive = true, Description = "What launchers add; has to be LOCAL_RANK" };
        option.Validators.Add(r =>
        {
            if (r.GetValueOrDefault<int?>() is { } rank && $"{rank}" != (place ?? "0"))
            {
                r.AddError($"--local_rank {rank} is not LOCAL_RANK, which is {place ?? "not set"}; leave the option out, or correct the variable");
            }
        });
        return option;
    }
}
