namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>A control plane for operators that look after one namespace each.</summary>
internal static class OwnOperators
{
    /// <summary>A namespace and an operator of its own.</summary>
    public static async Task<(Sandbox Cluster, OperatorProgram Program)> StartAsync(this OwnControlPlane server, string name, Faults? faults = null,
        IReadOnlyDictionary<string, string>? environment = null)
    {
        OperatorProgram? program = null;
        Sandbox cluster = await server.SandboxAsync(() => program?.Log ?? "");
        return (cluster, program = await server.ProgramAsync(name, cluster.Namespace, faults, environment));
    }

    /// <summary>An operator for a namespace.</summary>
    public static async Task<OperatorProgram> ProgramAsync(this OwnControlPlane server, string name, string ns, Faults? faults = null,
        IReadOnlyDictionary<string, string>? environment = null) =>
        await OperatorProgram.StartAsync(await server.GetAsync(), name, faults ?? new Faults(0), new WriteLedger(), $"--namespaces {ns}", environment);
}
