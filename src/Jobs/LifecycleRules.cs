using System.Text.RegularExpressions;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs;

/// <summary>Rules over several fields: restarts, sizes, deadlines and placement.</summary>
internal static class LifecycleRules
{
    /// <summary>Most sizes of an elastic job; each is checked against the config.</summary>
    public const int MostSizes = 1000;

    private const int MostPods = 10_000;

    /// <summary>Adds one problem per broken rule.</summary>
    /// <param name="spec">The spec.</param>
    /// <param name="errors">Receives every problem.</param>
    public static void Check(DeepSpeedJobSpec spec, ConfigErrors errors)
    {
        CheckManager(spec.ManagedBy, errors);
        CheckElastic(spec, errors);
        CheckFailureRules(spec.Restart?.Rules ?? [], errors);
        CheckPlacement(spec, errors);
        GangRules.Check(spec, errors);
        ModelSpec.Check(spec.Model, errors);
        if (spec.Mode() == LaunchMode.PerGpu && spec.WorldSize() > MostPods)
        {
            errors.Add("spec.launcher", $"PerGpu makes {spec.WorldSize()} pods", $"use at most {MostPods}, or the launcher Worker");
        }

        if (spec.Restart is { } restart && restart.BackoffSeconds > (restart.BackoffMaxSeconds ?? 300))
        {
            errors.Add("spec.restart.backoffSeconds", $"{restart.BackoffSeconds} is more than backoffMaxSeconds, which is "
                + $"{restart.BackoffMaxSeconds ?? 300}", "raise backoffMaxSeconds");
        }

        if (spec is { ProgressDeadlineSeconds: not null, Progress.Mode: "None" })
        {
            errors.Add("spec.progressDeadlineSeconds", "progress.mode is None, so no step is ever seen",
                "use Pull with a program that serves /progress, or remove the deadline");
        }
    }

    private static void CheckManager(string? manager, ConfigErrors errors)
    {
        if (string.IsNullOrEmpty(manager))
        {
            return;
        }

        string[] parts = manager.Split('/');
        if (parts.Length != 2 || parts[1].Length == 0 || !parts[0].Contains('.', StringComparison.Ordinal))
        {
            errors.Add("spec.managedBy", $"\"{manager}\" is not a domain and a path", $"write for example {JobDefaults.Controller}");
        }
    }

    private static void CheckElastic(DeepSpeedJobSpec spec, ConfigErrors errors)
    {
        if (spec.Elastic is not { } elastic)
        {
            return;
        }

        if (elastic.MinNodes > elastic.MaxNodes)
        {
            errors.Add("spec.elastic", $"minNodes is {elastic.MinNodes} and maxNodes {elastic.MaxNodes}", "exchange them");
        }
        else if (elastic.MaxNodes - elastic.MinNodes > MostSizes)
        {
            errors.Add("spec.elastic", $"it spans {elastic.MaxNodes - elastic.MinNodes} sizes", $"use at most {MostSizes}");
        }
        else if (spec.Nodes() < elastic.MinNodes || spec.Nodes() > elastic.MaxNodes)
        {
            errors.Add("spec.numNodes", $"{spec.Nodes()} is not between elastic.minNodes and elastic.maxNodes",
                $"use a value from {elastic.MinNodes} to {elastic.MaxNodes}");
        }

        if (spec.Mode() == LaunchMode.PerGpu)
        {
            errors.Add("spec.elastic", "a job with one pod per GPU cannot change its size", "use the launcher Worker, Torchrun or DeepSpeed");
        }
    }

    private static void CheckFailureRules(IReadOnlyList<FailureRule?> rules, ConfigErrors errors)
    {
        var names = new HashSet<string>();
        for (int i = 0; i < rules.Count; i++)
        {
            string path = $"spec.restart.rules[{i}]";
            if (rules[i] is not { } rule)
            {
                errors.Add(path, "the entry is empty", "give it a name, an action and criteria");
                continue;
            }

            if (rule.Name.Length == 0 || !names.Add(rule.Name))
            {
                errors.Add($"{path}.name", rule.Name.Length == 0 ? "it is missing" : $"{rule.Name} is given twice", "give each rule a name");
            }

            if (string.IsNullOrEmpty(rule.Action))
            {
                errors.Add($"{path}.action", "it is missing", "use FailJob, Restart or RestartIgnoreLimit");
            }

            if (rule is { ExitCodes: null or [], Reasons: null or [], MessagePattern: null })
            {
                errors.Add(path, "it says nothing about what it matches", "give exitCodes, reasons or messagePattern");
            }

            foreach (int code in (rule.ExitCodes ?? []).Where(code => code is < 1 or > 255))
            {
                errors.Add($"{path}.exitCodes", $"{code} is not the exit code of a failure", "use values from 1 to 255");
            }

            if (rule.MessagePattern is { } pattern && Problem(pattern) is { } problem)
            {
                errors.Add($"{path}.messagePattern", problem, "write a regular expression without back references and look-around");
            }
        }
    }

    private static string? Problem(string pattern)
    {
        try
        {
            _ = new Regex(pattern, RegexOptions.NonBacktracking);
            return null;
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            return e.Message;
        }
    }

    private static void CheckPlacement(DeepSpeedJobSpec spec, ConfigErrors errors)
    {
        if (spec.Scheduling?.Topology is { } topology
            && string.IsNullOrEmpty(topology.Required) == string.IsNullOrEmpty(topology.Preferred))
        {
            errors.Add("spec.scheduling.topology", "it needs exactly one of required and preferred",
                "name a label of machines, for example topology.kubernetes.io/zone");
        }

        if (spec.Network?.Port is { } port && port == spec.MetricsPort())
        {
            errors.Add("spec.network.port", $"{port} is the metrics port too", "use two different ports");
        }

        if (spec is { Shm: { Enabled: false, SizeLimit: not null } })
        {
            errors.Add("spec.shm.sizeLimit", "shm.enabled is false", "remove one of them");
        }

        if (!string.IsNullOrEmpty(spec.Network?.Interface)
            && spec.Env?.FirstOrDefault(e => e?.Name is "NCCL_SOCKET_IFNAME" or "GLOO_SOCKET_IFNAME") is { } variable)
        {
            errors.Add("spec.env", $"{variable.Name} is set by network.interface", "keep one of them");
        }
    }
}
