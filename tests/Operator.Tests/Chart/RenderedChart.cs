using System.Diagnostics;
using YamlDotNet.RepresentationModel;

namespace DeepSpeedSharp.Operator.Tests.Chart;

/// <summary>The project's chart, rendered with the template engine of Helm.</summary>
internal static class RenderedChart
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5); // the first call compiles the renderer

    /// <summary>APIs of the Prometheus operator, for a cluster that has them.</summary>
    public const string Monitoring = "--api-versions=monitoring.coreos.com/v1/ServiceMonitor,monitoring.coreos.com/v1/PodMonitor,"
        + "monitoring.coreos.com/v1/PrometheusRule";

    /// <summary>Renders the chart; the test is skipped where there is no compiler for the renderer.</summary>
    /// <returns>Exit code, standard output and standard error.</returns>
    public static async Task<(int Code, string Text, string Error)> RenderAsync(params string[] options)
    {
        Assert.SkipUnless(HasGo, "no go compiler for the chart's renderer: run tests/cluster/install.sh");
        return await RunAsync(RepositoryFiles.Path("tests", "cluster", "render-chart.sh"), ["--name", "release", "--namespace", "system", .. options]);
    }

    /// <summary>The objects of the rendered chart.</summary>
    public static async Task<IReadOnlyList<YamlMappingNode>> ObjectsAsync(params string[] options)
    {
        (int code, string text, string error) = await RenderAsync(options);
        Assert.True(code == 0, error);
        var yaml = new YamlStream();
        yaml.Load(new StringReader(text));
        return [.. yaml.Documents.Select(d => d.RootNode).OfType<YamlMappingNode>()];
    }

    /// <summary>Kind, name and namespace of each object.</summary>
    public static async Task<IReadOnlyList<(string Kind, string Name, string? Namespace)>> NamesAsync(params string[] options) =>
    [
        .. (await ObjectsAsync(options)).Select(o =>
        {
            var metadata = (YamlMappingNode)o["metadata"];
            string? ns = metadata.Children.TryGetValue("namespace", out YamlNode? value) ? ((YamlScalarNode)value).Value : null;
            return (((YamlScalarNode)o["kind"]).Value!, ((YamlScalarNode)metadata["name"]).Value!, ns);
        }),
    ];

    /// <summary>Runs a program to its end.</summary>
    public static async Task<(int Code, string Text, string Error)> RunAsync(string program, IEnumerable<string> arguments)
    {
        using var limit = new CancellationTokenSource(Limit);
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> text = process.StandardOutput.ReadToEndAsync(limit.Token);
        Task<string> error = process.StandardError.ReadToEndAsync(limit.Token);
        await process.WaitForExitAsync(limit.Token);
        return (process.ExitCode, await text, await error);
    }

    /// <summary>Whether a program is in PATH.</summary>
    public static bool Has(string program) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
        .Any(folder => File.Exists(Path.Combine(folder, program)));

    private static bool HasGo { get; } = Has("go");
}
