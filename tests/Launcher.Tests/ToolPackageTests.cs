using System.Diagnostics;
using System.Text;

namespace DeepSpeedSharp.Launcher.Tests;

/// <summary>The command as users install it: packed, and installed from a folder of packages.</summary>
public sealed class ToolPackageTests : IDisposable
{
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(10);
    private readonly JobFolder _folder = new();

    private string Tool => Path.Combine(_folder.Path, "tool", "deepspeed");

    [Fact]
    public async Task Tool_InstalledFromAFolder_ShowsHelpAndRunsRanks()
    {
        string feed = Path.Combine(_folder.Path, "feed");
        await RunAsync(Path.Combine(PublishedSample.Root, "scripts", "pack-tool.sh"), feed);
        await RunAsync("dotnet", "tool", "install", "DeepSpeedSharp.Launcher", "--tool-path", Path.GetDirectoryName(Tool)!, "--source", feed, "--no-cache");

        string help = await RunAsync(Tool, "--help");
        string ranks = await RunAsync(Tool, "--num_gpus", "2", "--no_python", "--no_local_rank", "/bin/sh", "-c", "echo rank $RANK of $WORLD_SIZE");

        Assert.Contains("deepspeed [options] PROGRAM [arguments]", help, StringComparison.Ordinal);
        Assert.Contains("[rank 1] rank 1 of 2", ranks, StringComparison.Ordinal);
        Assert.Equal("", await LoadedAsync("--help"));
    }

    public void Dispose() => _folder.Dispose();

    /// <summary>Which of the libraries that help has no use for the program opened.</summary>
    private async Task<string> LoadedAsync(string word)
    {
        // The runtime's own events tell what it does load.
        string trace = Path.Combine(_folder.Path, "trace.nettrace");
        await RunAsync("env", "DOTNET_EnableEventPipe=1", $"DOTNET_EventPipeOutputPath={trace}",
            "DOTNET_EventPipeConfig=Microsoft-Windows-DotNETRuntime:0x8:4", Tool, word);
        byte[] bytes = await File.ReadAllBytesAsync(trace, TestContext.Current.CancellationToken);

        // Names are UTF-16, at even and at odd places.
        string text = Encoding.Unicode.GetString(bytes) + Encoding.Unicode.GetString(bytes[1..]);
        Assert.Contains("deepspeed.dll", text, StringComparison.Ordinal);
        string[] heavy = ["YamlDotNet.dll", "KubernetesClient.dll", "System.CommandLine.dll", "TorchSharp.dll", "DeepSpeedSharp.Jobs.dll"];
        return string.Join(", ", heavy.Where(name => text.Contains(name, StringComparison.Ordinal)));
    }

    private async Task<string> RunAsync(string program, params string[] arguments)
    {
        using Process process = PublishedSample.Start(program, arguments, _folder.Path,
            ("CONFIGURATION", Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory))),
            ("DOTNET_CLI_HOME", _folder.Path), ("RANK", null));
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync().WaitAsync(Longest, TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, $"{program} ended with {process.ExitCode}:\n{await output}\n{await errors}");
        return await output;
    }
}
