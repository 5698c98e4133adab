using System.Text.Encodings.Web;
using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Launcher;

/// <summary>A manifest that is ready to run on this machine: its config read and checked, its program found.</summary>
/// <param name="Manifest">The job.</param>
/// <param name="Config">The DeepSpeed JSON config; null when the job has none.</param>
/// <param name="Folder">Where its files go.</param>
/// <param name="Worker">The worker's program; null when the manifest has its own command.</param>
/// <param name="Machine">This machine.</param>
internal sealed record LocalJob(
    DeepSpeedJobManifest Manifest, string? Config, RunFolder Folder, string? Worker, LocalMachine Machine)
{
    private static readonly JsonSerializerOptions Readable =
        new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The spec.</summary>
    public DeepSpeedJobSpec Spec => Manifest.Spec;

    /// <summary>Where checkpoints go; null when the job keeps none.</summary>
    public string? CheckpointFolder => Spec.Checkpoint is { } checkpoint
        ? Path.Combine(Folder.Volume(checkpoint.ClaimFor(Manifest.Name)), checkpoint.SubPathFor(Manifest.Name))
        : null;

    /// <summary>Checks all that can be checked before a process starts.</summary>
    /// <param name="manifest">The manifest.</param>
    /// <param name="file">Its file, for messages.</param>
    /// <param name="folder">Where its files go.</param>
    /// <param name="worker">The path of <c>--worker</c>, or null.</param>
    /// <exception cref="ConfigException">The job cannot run here.</exception>
    public static LocalJob Prepare(DeepSpeedJobManifest manifest, string file, RunFolder folder, string? worker)
    {
        var errors = new ConfigErrors();
        LaunchPlan.Check(manifest.Spec, errors);
        errors.ThrowIfAny(file);

        LocalMachine machine = LocalMachine.Current();
        string? program = manifest.Spec.Command is { Count: > 0 } ? null : WorkerProgram.Find(
            worker, machine.Environment.GetValueOrDefault(WorkerProgram.Variable), AppContext.BaseDirectory);
        return new LocalJob(manifest, ReadConfig(manifest.Spec, file, folder), folder, program, machine);
    }

    /// <summary>Plans an attempt.</summary>
    /// <param name="attempt">Its number.</param>
    /// <param name="restarts">Failures before it, in this run.</param>
    /// <param name="ports">Its ports.</param>
    public LaunchPlan Plan(int attempt, int restarts, LocalPorts ports)
    {
        string attemptFolder = Folder.Attempt(attempt);
        var identity = new JobIdentity(
            Manifest.Name, Manifest.Namespace, Folder.Uid() ?? Guid.Empty.ToString(), attempt, restarts);
        var placement = new JobPlacement(LaunchPlan.HostName, ports.Master,
            Config is null ? null : ConfigFile(attempt), Path.Combine(attemptFolder, "hostfile"), CheckpointFolder,
            node => ports.Metrics[node]);
        return LaunchPlan.From(Spec, identity, placement, Worker, Machine);
    }

    /// <summary>The config file of an attempt.</summary>
    public string ConfigFile(int attempt) => Path.Combine(Folder.Attempt(attempt), "ds_config.json");

    /// <summary>Writes what a cluster would mount: config, hostfile and checkpoint folder.</summary>
    /// <param name="attempt">Number of the attempt.</param>
    /// <param name="plan">Its plan.</param>
    public void WriteFiles(int attempt, LaunchPlan plan)
    {
        Directory.CreateDirectory(Folder.Attempt(attempt));
        File.WriteAllText(Path.Combine(Folder.Attempt(attempt), "hostfile"), plan.Job.Hostfile);
        if (Config is not null)
        {
            File.WriteAllText(ConfigFile(attempt), Config);
        }

        if (CheckpointFolder is { } checkpoints)
        {
            Directory.CreateDirectory(checkpoints);
        }
    }

    private static string? ReadConfig(DeepSpeedJobSpec spec, string file, RunFolder folder)
    {
        if (spec.Config is { } inline)
        {
            // Checked with the manifest.
            return inline.ToJsonString(Readable) + "\n";
        }

        if (spec.ConfigRef is not { } reference)
        {
            return null;
        }

        string path = folder.ConfigMapKey(reference.Name, reference.Key ?? "ds_config.json");
        string text;
        try
        {
            text = File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigException(file, [new ConfigError("spec.configRef",
                $"the ConfigMap {reference.Name} is not on this machine: {e.Message}",
                $"put the DeepSpeed JSON config at {RunFolder.Show(path)}")]);
        }

        var errors = new ConfigErrors();
        JobValidation.CheckConfig(text, "", spec, errors);
        errors.ThrowIfAny(RunFolder.Show(path));
        return text;
    }
}
