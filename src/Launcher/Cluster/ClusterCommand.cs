using System.CommandLine;
using System.Net;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary>What the commands that speak to a cluster have in common.</summary>
internal static class ClusterCommand
{
    /// <summary>The argument that names a job.</summary>
    public static Argument<string> JobName()
    {
        var name = new Argument<string>("JOB") { Description = "Name of the job." };
        UsageError.RefuseOptions(name);
        return name;
    }

    /// <summary>The option for programs.</summary>
    public static Option<bool> Json() => new("--json") { Description = "Print the objects as the API server sends them, as JSON." };

    /// <summary>Sets what a command does, and gives it the options that choose a cluster.</summary>
    /// <param name="command">The command.</param>
    /// <param name="run">What it does.</param>
    public static Command For(Command command, Func<ParseResult, JobClient, Task<int>> run)
    {
        var options = new ClusterOptions();
        options.AddTo(command);
        command.SetAction((parsed, _) => RunAsync(options.Open(parsed), connection => run(parsed, new JobClient(connection))));
        return command;
    }

    /// <summary>The problem of a job that is not there.</summary>
    public static int Missing(string name, JobClient client)
    {
        Console.Error.WriteLine($"deepspeed: there is no job {name} in namespace {client.Namespace}; `deepspeed jobs -A` lists all");
        return ExitCodes.Configuration;
    }

    private static async Task<int> RunAsync(ClusterConnection connection, Func<ClusterConnection, Task<int>> run)
    {
        try
        {
            return await run(connection);
        }
        catch (ApiException e)
        {
            await Console.Error.WriteLineAsync($"deepspeed: {connection.Server} refused: {e.Message.Trim()}; {Fix(e)}");
            return ExitCodes.Configuration;
        }
        catch (Exception e) when (IsOutage(e))
        {
            await Console.Error.WriteLineAsync($"deepspeed: the API server {connection.Server} cannot be reached: {Innermost(e)}; "
                + "is this the cluster you mean? see --context and --kubeconfig");
            return ExitCodes.Temporary;
        }
    }

    /// <summary>Whether a request failed on its way, so that the same request may succeed later.</summary>
    public static bool IsOutage(Exception e) => e is HttpRequestException or TimeoutException or IOException
        or ApiException { Code: >= HttpStatusCode.InternalServerError or HttpStatusCode.TooManyRequests };

    /// <summary>The message that says most.</summary>
    public static string Innermost(Exception e) => e.InnerException is { } inner ? Innermost(inner) : e.Message;

    private static string Fix(ApiException e) => e.Code switch
    {
        HttpStatusCode.NotFound => "does this cluster have DeepSpeedJobs? install the operator, see docs/kubernetes.md",
        HttpStatusCode.Unauthorized => "log in again, or choose another --context",
        HttpStatusCode.Forbidden => "ask for that right, or choose another --namespace",
        _ => "correct the request and try again",
    };
}
