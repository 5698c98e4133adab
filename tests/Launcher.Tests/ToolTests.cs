using System.Text.Json;
using DeepSpeedSharp.Launcher.Tests.Launch;

namespace DeepSpeedSharp.Launcher.Tests;

/// <summary>The small commands beside training.</summary>
public sealed class ToolTests
{
    private const string Elastic = """
        { "elasticity": { "enabled": true, "max_train_batch_size": 2000, "micro_batch_sizes": [2, 4, 6], "max_gpus": 12, "version": 0.1 } }
        """;

    [Fact]
    public async Task Elastic_ForPeopleAndPrograms_ShowsTheSameNumbers()
    {
        using var folder = new JobFolder();
        folder.Write("ds.json", Elastic);

        (int textCode, string text) = await LauncherProcess.RunAsync(folder.Path, "elastic", "--config", "ds.json", "-w", "4");
        (int jsonCode, string json) = await LauncherProcess.RunAsync(folder.Path, "elastic", "-c", "ds.json", "--world-size", "4", "--json");

        Assert.Equal((0, 0), (textCode, jsonCode));
        Assert.Contains("train batch size  1680", text, StringComparison.Ordinal);
        Assert.Contains("numbers of GPUs   1, 2, 3, 4, 5, 6, 7, 8, 10, 12", text, StringComparison.Ordinal);
        Assert.Contains("micro batch size  6 with accumulation 70 on 4 ranks", text, StringComparison.Ordinal);
        JsonElement numbers = JsonDocument.Parse(json).RootElement;
        Assert.Equal((1680, 6, 10), (numbers.GetProperty("final_batch_size").GetInt32(),
            numbers.GetProperty("micro_batch").GetInt32(), numbers.GetProperty("valid_gpus").GetArrayLength()));
    }

    [Theory]
    [InlineData("11 ranks do not fit the batch sizes; use one of these numbers of ranks: 1, 2,", Elastic, "11")]
    [InlineData("elasticity is off", """{ "train_batch_size": 8 }""", "1")]
    public async Task Elastic_WhatDoesNotFit_SaysWhatDoes(string expected, string config, string worldSize)
    {
        using var folder = new JobFolder();
        folder.Write("ds.json", config);

        (int exitCode, string text) = await LauncherProcess.RunAsync(folder.Path, "elastic", "--config", "ds.json", "--world-size", worldSize);

        Assert.Equal(78, exitCode);
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Elastic_ConfigWithAuto_IsATrainersAndShowsItsNumbers()
    {
        using var folder = new JobFolder();
        folder.Write("ds.json", Elastic.Insert(1, """ "train_micro_batch_size_per_gpu": "auto", "optimizer": { "type": "AdamW", "params": { "lr": "auto" } }, """));
        folder.Write("none.json", """{ "elasticity": { "enabled": true, "max_train_batch_size": "auto", "micro_batch_sizes": [2] } }""");

        (int exitCode, string text) = await LauncherProcess.RunAsync(folder.Path, "elastic", "--config", "ds.json");
        (int refusedCode, string refused) = await LauncherProcess.RunAsync(folder.Path, "elastic", "--config", "none.json");

        Assert.Equal((0, 78), (exitCode, refusedCode));
        Assert.Contains("train batch size  1680", text, StringComparison.Ordinal);
        Assert.Contains("elasticity.max_train_batch_size: \"auto\"", refused, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Report_Json_HasEveryRow()
    {
        using var folder = new JobFolder();

        (int exitCode, string text) = await LauncherProcess.RunAsync(folder.Path, "report", "--json");

        Assert.Equal(0, exitCode);
        JsonElement report = JsonDocument.Parse(text).RootElement;
        foreach (string name in (string[])["deepspeed", ".NET", "system", "processors", "memory", "/dev/shm", "GPUs", "libtorch", "launchers"])
        {
            Assert.False(string.IsNullOrEmpty(report.GetProperty(name).GetString()), name);
        }
    }

    [Fact]
    public void Report_Gpus_AreNamedAndTheirAbsenceIsOneSentence()
    {
        Dictionary<string, string> none = [];

        string some = ReportCommand.Rows([("NVIDIA H100", 80UL << 30), ("NVIDIA H100", 80UL << 30)], none).Single(r => r.Name == "GPUs").Value!;
        string without = ReportCommand.Rows([], none).Single(r => r.Name == "GPUs").Value!;

        Assert.Equal("0: NVIDIA H100, 80.0 GiB, 1: NVIDIA H100, 80.0 GiB", some);
        Assert.StartsWith("none: ", without, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ssh_EveryHost_RunsTheCommandAndReportsFailures()
    {
        using var ranks = new RankFolder("");
        ranks.Write("hosts", "one slots=1\ntwo slots=1\ngone slots=1\n");

        (int exitCode, string text) = await ranks.RunAsync("ssh", "-f", "hosts", "--", "echo", "here");

        Assert.Equal(255, exitCode);
        Assert.Contains("[one] here", text, StringComparison.Ordinal);
        Assert.Contains("[two] here", text, StringComparison.Ordinal);
        Assert.Contains("host gone: exit code 255", text, StringComparison.Ordinal);
    }
}
