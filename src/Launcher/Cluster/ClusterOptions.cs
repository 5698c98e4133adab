using System.CommandLine;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary>Which cluster and namespace a command speaks to; the options that kubectl has too.</summary>
internal sealed class ClusterOptions
{
    private readonly Option<string?> _kubeconfig = new("--kubeconfig")
    {
        HelpName = "FILE",
        Description = "The kubeconfig (default: the files of $KUBECONFIG, else ~/.kube/config, else the pod's own account).",
    };

    private readonly Option<string?> _context = new("--context")
    {
        HelpName = "NAME",
        Description = "The context of the kubeconfig (default: its current one).",
    };

    private readonly Option<string?> _namespace = new("--namespace", "-n")
    {
        HelpName = "NAME",
        Description = "The namespace (default: the context's, else default).",
    };

    /// <summary>Gives a command these options.</summary>
    public void AddTo(Command command)
    {
        command.Options.Add(_namespace);
        command.Options.Add(_context);
        command.Options.Add(_kubeconfig);
    }

    /// <summary>Opens the connection that the words ask for.</summary>
    public ClusterConnection Open(ParseResult parsed) =>
        ClusterConnection.Open(parsed.GetValue(_kubeconfig), parsed.GetValue(_context), parsed.GetValue(_namespace));
}
