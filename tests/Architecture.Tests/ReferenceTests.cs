using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Runtime.InteropServices;
using System.Xml.Linq;

namespace DeepSpeedSharp.Architecture.Tests;

/// <summary>The list of what may reference what. A new reference is a decision: it is made by a change of this list.</summary>
public sealed class ReferenceTests
{
    /// <param name="Assembly">Name of the project's assembly.</param>
    /// <param name="Projects">Projects it may reference.</param>
    /// <param name="Packages">Packages it may reference.</param>
    /// <param name="PackageAssemblies">Assemblies of packages that its code may use.</param>
    private sealed record Allowed(string Assembly, string[] Projects, string[] Packages, string[] PackageAssemblies);

    private static readonly Dictionary<string, Allowed> List = new()
    {
        ["Config"] = new("DeepSpeedSharp.Config", [], [], []),
        ["Checkpoints"] = new("DeepSpeedSharp.Checkpoints", [], ["System.IO.Hashing"], ["System.IO.Hashing"]),
        ["Jobs"] = new("DeepSpeedSharp.Jobs", ["Config"], ["YamlDotNet"], ["YamlDotNet"]),
        ["Engine"] = new("DeepSpeedSharp.Engine", ["Checkpoints", "Config"], ["TorchSharp", "System.Numerics.Tensors"],
            ["TorchSharp", "System.Numerics.Tensors"]),
        ["Launcher"] = new("deepspeed", ["Checkpoints", "Config", "Jobs"], ["KubernetesClient", "System.CommandLine"],
            ["KubernetesClient", "System.CommandLine", "YamlDotNet"]),
        ["Operator"] = new("deepspeed-operator", ["Config", "Jobs"],
            ["KubernetesClient", "prometheus-net", "System.CommandLine"],
            ["KubernetesClient", "Prometheus.NetStandard", "System.CommandLine"]),
        ["WorkerImage"] = new("deepspeed-worker", ["Engine", "Checkpoints", "Config"],
            ["prometheus-net", "System.CommandLine", "libtorch-cpu-linux-x64", "libtorch-cuda-12.8-linux-x64"],
            ["Prometheus.NetStandard", "System.CommandLine", "TorchSharp"]),
    };

    public static TheoryData<string> Projects => [.. Repository.Projects];

    [Fact]
    public void Projects_OfTheSourceTree_AreAllListed()
    {
        Assert.Equal(List.Keys.Order(StringComparer.Ordinal), Repository.Projects);
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void ProjectFile_References_AreOnTheList(string project)
    {
        XDocument file = XDocument.Load(Repository.ProjectFile(project));

        Assert.Empty(Includes(file, "ProjectReference").Select(path => Path.GetFileNameWithoutExtension(path))
            .Except(List[project].Projects));
        Assert.Empty(Includes(file, "PackageReference").Except(List[project].Packages));
    }

    // What the project file does not say: assemblies that come along with a package or a referenced project.
    [Theory]
    [MemberData(nameof(Projects))]
    public void Assembly_References_AreOnTheList(string project)
    {
        Allowed allowed = List[project];
        IEnumerable<string> own = allowed.Projects.Select(other => List[other].Assembly);
        IEnumerable<string> others = ReferencesOf(project).Where(name => !IsFramework(name));

        Assert.Empty(others.Except(own).Except(allowed.PackageAssemblies));
    }

    [Theory]
    [InlineData("Checkpoints")]
    [InlineData("Config")]
    [InlineData("Jobs")]
    [InlineData("Launcher")]
    [InlineData("Operator")]
    public void Assembly_OutsideTheEngine_NeverLoadsTorch(string project)
    {
        string folder = Path.GetDirectoryName(Repository.Assembly(project, List[project].Assembly))!;

        Assert.Empty(Directory.EnumerateFiles(folder, "*orch*").Select(path => Path.GetFileName(path)));
    }

    [Theory]
    [InlineData("Engine")]
    [InlineData("WorkerImage")]
    public void Assembly_OfTheEngine_NeverKnowsKubernetes(string project)
    {
        string folder = Path.GetDirectoryName(Repository.Assembly(project, List[project].Assembly))!;

        Assert.Empty(Directory.EnumerateFiles(folder, "Kubernetes*").Select(path => Path.GetFileName(path)));
        Assert.Empty(Directory.EnumerateFiles(folder, "DeepSpeedSharp.Jobs*").Select(path => Path.GetFileName(path)));
    }

    private static IEnumerable<string> Includes(XDocument file, string element) =>
        file.Descendants(element).Select(e => e.Attribute("Include")!.Value.Replace('\\', '/'));

    private static string[] ReferencesOf(string project)
    {
        string path = Repository.Assembly(project, List[project].Assembly);
        Assert.True(File.Exists(path), $"{path} does not exist; build {project} first");
        using var file = new PEReader(File.OpenRead(path));
        MetadataReader reader = file.GetMetadataReader();
        return [.. reader.AssemblyReferences.Select(handle => reader.GetString(reader.GetAssemblyReference(handle).Name))];
    }

    private static bool IsFramework(string assembly)
    {
        string netCore = Path.TrimEndingDirectorySeparator(RuntimeEnvironment.GetRuntimeDirectory());
        string shared = Path.GetFullPath(Path.Combine(netCore, "..", ".."));
        return File.Exists(Path.Combine(netCore, $"{assembly}.dll"))
            || (Directory.Exists(Path.Combine(shared, "Microsoft.AspNetCore.App"))
                && Directory.EnumerateDirectories(Path.Combine(shared, "Microsoft.AspNetCore.App"))
                    .Any(version => File.Exists(Path.Combine(version, $"{assembly}.dll"))));
    }
}
