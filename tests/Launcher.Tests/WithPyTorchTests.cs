using System.Diagnostics;
using System.Runtime.Versioning;

namespace DeepSpeedSharp.Launcher.Tests;

/// <summary>scripts/with-pytorch.sh, with a Python that is a shell script.</summary>
[SupportedOSPlatform("linux")]
public sealed class WithPyTorchTests
{
    [Fact]
    public async Task WithPyTorch_FoldersOfPython_ComeBeforeThoseThatAreSet()
    {
        (int exitCode, string text) = await RunAsync("echo /env/torch/lib:/env/nvidia/nccl/lib");

        Assert.Equal((0, "/env/torch/lib:/env/nvidia/nccl/lib:/own\n"), (exitCode, text));
    }

    [Fact]
    public async Task WithPyTorch_PythonWithoutTorch_SaysWhereItLooked()
    {
        (int exitCode, string text) = await RunAsync("exit 1");

        Assert.Equal(78, exitCode);
        Assert.Contains("no PyTorch; looked in: ", text, StringComparison.Ordinal);
        Assert.Contains("/bin/python3", text, StringComparison.Ordinal);
    }

    private static async Task<(int ExitCode, string Text)> RunAsync(string python)
    {
        using var folder = new JobFolder();
        foreach (string name in new[] { "python3", "python" })
        {
            File.SetUnixFileMode(folder.Write($"bin/{name}", $"#!/bin/sh\n{python}\n"),
                UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }

        using Process process = PublishedSample.Start(Path.Combine(PublishedSample.Root, "scripts", "with-pytorch.sh"),
            ["sh", "-c", "echo $LD_LIBRARY_PATH"], folder.Path, ("PYTHON", null), ("LD_LIBRARY_PATH", "/own"),
            ("PATH", $"{folder.Of("bin")}:{Environment.GetEnvironmentVariable("PATH")}"));
        string text = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken)
            + await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return (process.ExitCode, text);
    }
}
