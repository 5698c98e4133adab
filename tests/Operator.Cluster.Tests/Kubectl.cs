namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>kubectl, as a user would call it. What a user would look at is kept in artifacts/cluster-transcript.</summary>
internal sealed class Kubectl
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    private readonly Dictionary<string, string> _environment;
    private readonly string _transcript;

    public Kubectl(TestCluster cluster, string story)
    {
        _environment = new Dictionary<string, string> { ["KUBECONFIG"] = cluster.Kubeconfig };
        string folder = RepositoryFiles.Of("artifacts", "cluster-transcript");
        Directory.CreateDirectory(folder);
        _transcript = Path.Combine(folder, $"{story}.txt");
        File.WriteAllText(_transcript, "");
    }

    /// <summary>The administrator's kubeconfig.</summary>
    public string Kubeconfig => _environment["KUBECONFIG"];

    public Task<ShellResult> RunAsync(params string[] arguments) => Shell.RunAsync("kubectl", arguments, Limit, _environment);

    /// <summary>Output of a command that has to work.</summary>
    public async Task<string> GetAsync(params string[] arguments)
    {
        ShellResult result = await RunAsync(arguments);
        Assert.True(result.ExitCode == 0, $"kubectl {string.Join(' ', arguments)} ended with {result.ExitCode}:\n{result.All}");
        return result.Output.Trim();
    }

    /// <summary>Runs a command and keeps it in the transcript.</summary>
    public async Task<ShellResult> ShowAsync(params string[] arguments)
    {
        ShellResult result = await RunAsync(arguments);
        string shown = string.Join(' ', arguments.Select(a => Path.IsPathRooted(a) ? Path.GetRelativePath(RepositoryFiles.Root, a) : a));
        await File.AppendAllTextAsync(_transcript, $"$ kubectl {shown}\n{result.All}\n\n");
        return result;
    }

    /// <summary>Notes in the transcript what happens outside kubectl.</summary>
    public Task NoteAsync(string text, bool plain = false) => File.AppendAllTextAsync(_transcript, $"{(plain ? "" : "# ")}{text}\n\n");
}
