using System.Globalization;
using System.Text;
using DeepSpeedSharp.Jobs;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>What the ranks of one attempt prove to each other before they talk: a random text in a file.</summary>
/// <remarks>
/// The operator makes it and never reads it back, so that it needs no right to read secrets (docs/decisions/0006). Which
/// value counts is therefore decided by the server: the first one created under the name of the attempt. The name has a
/// part of the job's identity, so that what is left of a deleted job of the same name is never taken for it.
/// </remarks>
internal static class RendezvousSecret
{
    /// <summary>The variable that names the file to the engine.</summary>
    public const string Variable = "DEEPSPEED_SECRET_FILE";

    /// <summary>Folder of the file. Not below the config's, which is read-only.</summary>
    public const string MountPath = "/etc/deepspeed-secret";

    /// <summary>Where it is in the container that trains.</summary>
    public const string File = MountPath + "/" + Key;

    /// <summary>Random bytes that make a secret nobody guesses.</summary>
    public const int Bytes = 32;

    // The engine takes a secret from this one too, where everybody may read it.
    private const string InPlainText = "DEEPSPEED_SECRET";
    private const string Key = "rendezvous";

    // Readable for the owner and for the pod's fsGroup, which the worker's user belongs to.
    private const int Mode = 0x120; // 0440

    /// <summary>Whether ranks of this job ask for it: programs on the engine do, those that bring PyTorch do not.</summary>
    public static bool IsUsed(DeepSpeedJobSpec spec) => spec.Mode() is LaunchMode.Worker or LaunchMode.PerGpu;

    /// <summary>Whether a variable belongs to it, and so not to the user.</summary>
    public static bool Sets(DeepSpeedJobSpec spec, string? variable) => IsUsed(spec) && variable is (Variable or InPlainText);

    /// <summary>Its name.</summary>
    public static string Name(JobOwner job, int attempt) =>
        string.Create(CultureInfo.InvariantCulture, $"{job.Name}-{attempt}-{job.Uid[..Math.Min(8, job.Uid.Length)]}");

    /// <summary>Names of those that earlier attempts may have left.</summary>
    /// <param name="job">The job.</param>
    /// <param name="created">The last attempt all of whose pods existed: whoever made them removed all before it.</param>
    /// <param name="attempt">The attempt whose secret stays.</param>
    public static IEnumerable<string> Older(JobOwner job, int created, int attempt)
    {
        int first = Math.Max(1, Math.Min(created, attempt));
        return Enumerable.Range(first, attempt - first).Select(i => Name(job, i));
    }

    /// <summary>Builds it.</summary>
    /// <param name="job">The job.</param>
    /// <param name="attempt">The attempt.</param>
    /// <param name="random">Random bytes, <see cref="Bytes"/> or more.</param>
    public static V1Secret Build(JobOwner job, int attempt, byte[] random) => new()
    {
        ApiVersion = "v1",
        Kind = "Secret",
        Metadata = JobMetadata.Owned(job, Name(job, attempt), attempt),
        Type = "Opaque",
        Data = new Dictionary<string, byte[]>
        {
            [Key] = Encoding.ASCII.GetBytes(Convert.ToHexStringLower(random)),
        },
        Immutable = true,
    };

    /// <summary>The volume of the pods.</summary>
    public static V1Volume Volume(JobOwner job, int attempt) => new()
    {
        Name = "rendezvous",
        Secret = new V1SecretVolumeSource { SecretName = Name(job, attempt), DefaultMode = Mode },
    };

    /// <summary>Where it is mounted.</summary>
    public static V1VolumeMount Mount() => new() { Name = "rendezvous", MountPath = MountPath, ReadOnlyProperty = true };
}
