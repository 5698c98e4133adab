using System.CommandLine;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary><c>deepspeed stop</c>: lets a job's pods save and end, or deletes the job.</summary>
internal static class StopCommand
{
    public static Command Create()
    {
        Argument<string> name = ClusterCommand.JobName();
        var delete = new Option<bool>("--delete") { Description = "Delete the job. Without it the job stays, and can go on from its last checkpoint." };
        return ClusterCommand.For(new Command("stop") { name, delete }, (parsed, client) =>
            RunAsync(client, parsed.GetValue(name)!, parsed.GetValue(delete)));
    }

    private static async Task<int> RunAsync(JobClient client, string name, bool delete)
    {
        if (await client.FindAsync(name, CancellationToken.None) is not { } found)
        {
            return ClusterCommand.Missing(name, client);
        }

        DeepSpeedJob job = DeepSpeedJob.Read(found);
        if (delete)
        {
            await client.DeleteAsync(name, job.Metadata.Uid, CancellationToken.None);
            Console.Out.WriteLine($"job {name} is deleted; its pods save and end, its checkpoints stay on their volume");
            return ExitCodes.Done;
        }

        if (job.Status.IsFinished())
        {
            Console.Out.WriteLine($"job {name} has ended already ({job.Status.Phase}); --delete removes it");
            return ExitCodes.Done;
        }

        await client.SuspendAsync(name, CancellationToken.None);
        Console.Out.WriteLine($"job {name} stops: its pods save and end; `deepspeed submit` of its manifest lets it go on from there");
        return ExitCodes.Done;
    }
}
