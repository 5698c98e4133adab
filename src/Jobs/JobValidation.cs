using System.Reflection;
using System.Text.Json;
using System.Text.RegularExpressions;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs;

/// <summary>Checks a job's spec; launcher and operator refuse the same things with the same words.</summary>
public static partial class JobValidation
{
    /// <summary>Largest length of a job's name: it becomes part of host names of at most 63 characters.</summary>
    public const int LongestName = 50;

    /// <summary>Variables that the job sets itself: users may not, and a local run inherits none of them.</summary>
    public static IReadOnlyList<string> ReservedVariables { get; } =
    [
        .. new WorkerEnvironment().ToVariables().Select(v => v.Key), "DSJ_CONFIG", "DS_CONFIG", "DSJ_HOSTFILE",
        "DSJ_CHECKPOINT_DIR", "DSJ_JOB_NAME", "DSJ_NAMESPACE", "DSJ_JOB_UID", "DSJ_ATTEMPT", "DSJ_RESTARTS",
        "DSJ_METRICS_PORT", "DSJ_METRICS_PATH", "POD_NAME", "POD_IP", "CLUSTER_NODE", .. LauncherVariables.Reserved,
    ];

    /// <summary>Checks the name of a job.</summary>
    /// <param name="name">The name; empty when missing.</param>
    /// <param name="errors">Receives every problem.</param>
    public static void CheckName(string name, ConfigErrors errors)
    {
        if (name.Length is 0 or > LongestName || !DnsLabel().IsMatch(name))
        {
            errors.Add("metadata.name", name.Length == 0 ? "it is missing" : $"\"{name}\" cannot be part of a host name",
                $"use at most {LongestName} lower-case letters, digits and '-', beginning with a letter");
        }
    }

    /// <summary>Checks everything that can be known from the spec alone.</summary>
    /// <param name="spec">The spec.</param>
    /// <param name="errors">Receives every problem, with paths below <c>spec</c>.</param>
    public static void Check(DeepSpeedJobSpec spec, ConfigErrors errors)
    {
        CheckFields(spec, "spec", errors);
        CheckTexts(spec.Command ?? [], "spec.command", errors);
        CheckTexts(spec.Args ?? [], "spec.args", errors);
        CheckEnvironment(spec.Env ?? [], errors);
        CheckCheckpoint(spec.Checkpoint, errors);
        if (spec.Metrics?.Path is { } path && !path.StartsWith('/'))
        {
            errors.Add("spec.metrics.path", $"\"{path}\" does not begin with /", $"write /{path}");
        }

        if (spec.Config is not null && spec.ConfigRef is not null)
        {
            errors.Add("spec.configRef", "config and configRef are both given", "keep one of them");
        }

        if (spec.ConfigRef is { } reference && !ObjectName().IsMatch(reference.Name ?? ""))
        {
            errors.Add("spec.configRef.name", string.IsNullOrEmpty(reference.Name) ? "it is missing" : $"\"{reference.Name}\" is no name of an object",
                "name a ConfigMap of this namespace");
        }

        LifecycleRules.Check(spec, errors);
        if (spec.Config is { } config && spec.NumNodes is null or > 0 and <= 10_000 && spec.Gpus() is >= 0 and <= 64)
        {
            CheckConfig(config.ToJsonString(), "spec.config", spec, errors);
        }
    }

    /// <summary>Checks a DeepSpeed config against the number of ranks of a job; of an elastic one, against each it may have.</summary>
    /// <param name="json">The config.</param>
    /// <param name="path">Where it stands, for messages; empty when it is a document of its own.</param>
    /// <param name="spec">The job.</param>
    /// <param name="errors">Receives every problem.</param>
    public static void CheckConfig(string json, string path, DeepSpeedJobSpec spec, ConfigErrors errors)
    {
        IReadOnlyList<ConfigError> problems = JobConfig.Check(json, spec).Problems;
        if (problems.Count == 0 || spec.Elastic is not { } elastic || elastic.MaxNodes - elastic.MinNodes > LifecycleRules.MostSizes)
        {
            errors.AddAll(path, problems);
            return;
        }

        // An elastic job may begin with any size that fits; only without one is the config at fault.
        if (JobConfig.NodeCounts(json, spec).Count == 0)
        {
            errors.AddAll(path, problems);
            errors.Add("spec.elastic", $"the config fits no number of nodes from {elastic.MinNodes} to {elastic.MaxNodes}",
                "choose batch sizes that more numbers of ranks divide, or other limits");
        }
    }

    // Ranges and unknown fields of a record and everything below it, by the same attributes the CRD is made from.
    private static void CheckFields(object record, string path, ConfigErrors errors)
    {
        Type type = record.GetType();
        foreach (PropertyInfo property in type.GetProperties(BindingFlags.Public | BindingFlags.Instance))
        {
            object? value = property.GetValue(record);
            string name = $"{path}.{JsonNamingPolicy.CamelCase.ConvertName(property.Name)}";
            if (property.GetCustomAttribute<RangeAttribute>() is { } range && value is int number
                && (number < range.Minimum || number > range.Maximum))
            {
                errors.Add(name, $"{number} is out of range", range.Maximum == int.MaxValue
                    ? $"use a value of at least {range.Minimum}" : $"use a value from {range.Minimum} to {range.Maximum}");
            }
            else if (value is string text)
            {
                CheckText(property, text, name, errors);
            }
            else if (property.GetCustomAttribute<MaxItemsAttribute>() is { } limit
                && value is System.Collections.ICollection list && list.Count > limit.Count)
            {
                errors.Add(name, $"it has {list.Count} entries", $"use at most {limit.Count}");
            }
            else if (value is IDictionary<string, JsonElement> unknown)
            {
                Refuse(type, unknown.Keys, path, errors);
            }
            else if (value is IReadOnlyList<object?> records)
            {
                for (int i = 0; i < records.Count; i++)
                {
                    CheckFields(records[i], $"{name}[{i}]", type, errors);
                }
            }
            else
            {
                CheckFields(value, name, type, errors);
            }
        }
    }

    private static void CheckFields(object? value, string path, Type parent, ConfigErrors errors)
    {
        if (value is not null && value.GetType().Namespace == parent.Namespace && value.GetType().IsClass)
        {
            CheckFields(value, path, errors);
        }
    }

    private static void CheckText(PropertyInfo property, string text, string path, ConfigErrors errors)
    {
        if (property.GetCustomAttribute<OneOfAttribute>() is { } words && text.Length > 0)
        {
            string[] built = [.. words.Values.Except(words.NotYet)];
            if (words.NotYet.Contains(text))
            {
                errors.Add(path, $"{text} is not supported yet", $"use {string.Join(" or ", built)}");
            }
            else if (!built.Contains(text))
            {
                errors.Add(path, $"there is no \"{text}\"", NearestName.Find(text, built) is { } near
                    ? $"did you mean {near}?" : $"use {string.Join(", ", built)}");
            }
        }

        if (property.GetCustomAttribute<MaxLengthAttribute>() is { } limit && text.Length > limit.Length)
        {
            errors.Add(path, $"it has {text.Length} characters", $"use at most {limit.Length}");
        }
    }

    private static void Refuse(Type type, IEnumerable<string> names, string path, ConfigErrors errors)
    {
        IReadOnlyList<string> planned = type.GetCustomAttribute<PlannedFieldsAttribute>()?.Names ?? [];
        string[] known = [.. type.GetProperties().Where(p => p.Name != "Unknown")
            .Select(p => JsonNamingPolicy.CamelCase.ConvertName(p.Name))];
        foreach (string name in names)
        {
            if (planned.Contains(name))
            {
                errors.Add($"{path}.{name}", "this field is not supported yet", "remove it");
                continue;
            }

            errors.Add($"{path}.{name}", "there is no such field",
                NearestName.Find(name, known.Concat(planned)) is { } near ? $"did you mean \"{near}\"?" : "remove it");
        }
    }

    // An empty list entry in YAML is a null, whatever the type says.
    private static void CheckTexts(IReadOnlyList<string?> texts, string path, ConfigErrors errors)
    {
        for (int i = 0; i < texts.Count; i++)
        {
            if (texts[i] is null)
            {
                errors.Add($"{path}[{i}]", "the entry is empty", "write a text, or \"\" for an empty one");
            }
        }
    }

    private static void CheckEnvironment(IReadOnlyList<EnvVar> variables, ConfigErrors errors)
    {
        var seen = new HashSet<string>();
        for (int i = 0; i < variables.Count; i++)
        {
            string path = $"spec.env[{i}]";
            if ((EnvVar?)variables[i] is not { } variable)
            {
                errors.Add(path, "the entry is empty", "give it a name and a value");
                continue;
            }

            if (!VariableName().IsMatch(variable.Name))
            {
                errors.Add($"{path}.name", $"\"{variable.Name}\" is not the name of a variable",
                    "use letters, digits and '_', not beginning with a digit");
            }
            else if (ReservedVariables.Contains(variable.Name))
            {
                errors.Add($"{path}.name", $"{variable.Name} is set by the job itself", "remove it");
            }
            else if (!seen.Add(variable.Name))
            {
                errors.Add($"{path}.name", $"{variable.Name} is given twice", "keep one of them");
            }

            if (variable is { Value: not null, ValueFrom: not null })
            {
                errors.Add(path, "value and valueFrom are both given", "keep one of them");
            }
        }
    }

    private static void CheckCheckpoint(CheckpointSpec? checkpoint, ConfigErrors errors)
    {
        if (checkpoint is null)
        {
            return;
        }

        if (checkpoint.ClaimName is null == checkpoint.VolumeClaimTemplate is null)
        {
            errors.Add("spec.checkpoint", checkpoint.ClaimName is null
                ? "neither claimName nor volumeClaimTemplate is given" : "claimName and volumeClaimTemplate are both given",
                "give exactly one of them");
        }

        if (checkpoint.ClaimName is { } claim && !DnsLabel().IsMatch(claim))
        {
            errors.Add("spec.checkpoint.claimName", $"\"{claim}\" is not the name of a PersistentVolumeClaim",
                "use lower-case letters, digits and '-'");
        }

        if (checkpoint.VolumeClaimTemplate is { Spec: null })
        {
            errors.Add("spec.checkpoint.volumeClaimTemplate.spec", "it is missing",
                "give accessModes, storageClassName and resources");
        }

        if (checkpoint.MountPath is { } mount && !mount.StartsWith('/'))
        {
            errors.Add("spec.checkpoint.mountPath", $"\"{mount}\" is not an absolute path", $"write /{mount}");
        }

        if (checkpoint.SubPath is { } sub && (sub.StartsWith('/') || sub.Split('/').Contains("..")))
        {
            errors.Add("spec.checkpoint.subPath", $"\"{sub}\" is not a folder below the volume", "use a relative path without ..");
        }
    }

    [GeneratedRegex("^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    private static partial Regex DnsLabel();

    // A name such as ".." would be another path of the API server.
    [GeneratedRegex(@"^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?\z")]
    private static partial Regex ObjectName();

    [GeneratedRegex("^[A-Za-z_][A-Za-z0-9_]*$")]
    private static partial Regex VariableName();
}
