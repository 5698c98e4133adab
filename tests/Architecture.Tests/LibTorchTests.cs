using System.Diagnostics;
using System.Text.Json;

namespace DeepSpeedSharp.Architecture.Tests;

/// <summary>One build property decides which libtorch a program brings along, and never two.</summary>
public sealed class LibTorchTests
{
    [Theory]
    [InlineData("src/WorkerImage", "cpu", "libtorch-cpu-linux-x64")]
    [InlineData("src/WorkerImage", "cuda", "libtorch-cuda-12.8-linux-x64")]
    [InlineData("src/WorkerImage", "none")]
    [InlineData("samples/own-model", "cpu", "libtorch-cpu-linux-x64")]
    [InlineData("samples/own-model", "cuda", "libtorch-cuda-12.8-linux-x64")]
    [InlineData("samples/own-model", "none")]
    public async Task LibTorch_OfAProgram_IsWhatThePropertySays(string project, string value, params string[] expected)
    {
        string json = await OutputAsync("dotnet", "msbuild", Path.Combine(Repository.Root, project), $"-p:LibTorch={value}",
            "-getItem:PackageReference", "-nodeReuse:false");

        using JsonDocument items = JsonDocument.Parse(json);
        IEnumerable<string> packages = items.RootElement.GetProperty("Items").GetProperty("PackageReference").EnumerateArray()
            .Select(item => item.GetProperty("Identity").GetString()!);
        Assert.Equal(expected, packages.Where(name => name.StartsWith("libtorch", StringComparison.OrdinalIgnoreCase)));
    }

    private static async Task<string> OutputAsync(string program, params string[] args)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, args) { RedirectStandardOutput = true })!;
        string text = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', args)} ended with {process.ExitCode}:\n{text}");
        return text;
    }
}
