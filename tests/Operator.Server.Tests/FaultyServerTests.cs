using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using DeepSpeedSharp.Operator.Benchmarks;
using DeepSpeedSharp.Operator.Tests;

namespace DeepSpeedSharp.Operator.Server.Tests;

/// <summary>Two operators, one real API server, and between them a proxy that fails one request of five, and watches more often.
/// Meanwhile operators are killed, and stopped for half a minute.</summary>
/// <remarks><c>FAULTS_JOBS</c> makes it longer (4 jobs in each of three waves; 12 take five minutes). <c>FAULTS_SEED</c> repeats the draws of a run; the order of requests is another matter.</remarks>
[Trait("Category", "Long")]
public sealed class FaultyServerTests
{
    private const double Rate = 0.2;
    private static readonly int JobsOfAWave = int.TryParse(Environment.GetEnvironmentVariable("FAULTS_JOBS"), out int jobs) ? jobs : 4;
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(15);

    /// <summary>Scenarios 61 and 63 with everything real but the pods, and 60 and 62 as far as a proxy can bring them about.</summary>
    [Fact]
    [Trait("Scenario", "60,61,62,63")]
    public async Task Operators_KilledAndStoppedBehindAFaultyServer_CountExactlyAndWriteOnlyWithTheLease()
    {
        string programs = Programs.OrSkip();
        int seed = int.TryParse(Environment.GetEnvironmentVariable("FAULTS_SEED"), out int given) ? given : Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"FAULTS_SEED={seed}"));
        var random = new Random(seed);
        Script[] scripts = [.. Enumerable.Range(0, 3 * JobsOfAWave).Select(Draw)];
        var faults = new Faults(seed);
        var ledger = new WriteLedger();
        await using ControlPlane plane = await ControlPlane.StartAsync(Path.GetTempPath(), programs, RepositoryFiles.Path("deploy", "crds", "deepspeedjobs.yaml"));
        using var stop = new CancellationTokenSource();
        var kubelet = new ScriptedKubelet(plane.Api, scripts.ToDictionary(s => s.Name));
        Task kubeletRun = kubelet.RunAsync(stop.Token);
        await using OperatorProgram first = await OperatorProgram.StartAsync(plane, "op-a", faults, ledger);
        await using OperatorProgram second = await OperatorProgram.StartAsync(plane, "op-b", faults, ledger);
        OperatorProgram[] operators = [first, second];
        faults.Rate = Rate;
        try
        {
            await CreateAsync(plane, scripts[..JobsOfAWave]);
            await Until(() => kubelet.Made > JobsOfAWave, "pods are made", operators);
            (await LeaderAsync(operators, ledger)).Kill();
            await Task.Delay(TimeSpan.FromSeconds(5), TestContext.Current.CancellationToken);

            await CreateAsync(plane, scripts[JobsOfAWave..(2 * JobsOfAWave)]);
            OperatorProgram stopped = await LeaderAsync(operators, ledger);
            int made = kubelet.Made;
            await stopped.StopForAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
            await Until(() => ledger.Holder.Length > 0 && ledger.Holder != stopped.Name, "the other one leads", operators);
            await Until(() => kubelet.Made > made, "the other one works", operators);

            await CreateAsync(plane, scripts[(2 * JobsOfAWave)..]);
            (await LeaderAsync(operators, ledger)).Kill();
            await Task.Delay(TimeSpan.FromSeconds(random.Next(3, 10)), TestContext.Current.CancellationToken);
            operators[random.Next(2)].Kill();
            await EndedAsync(plane, scripts, kubelet, operators);

            faults.Rate = 0;
            await QuietAsync(ledger);
            await JudgeAsync(plane, scripts, kubelet, ledger, operators);
            Assert.All(Enum.GetValues<Fault>().Where(f => f is not (Fault.None or Fault.LostRequest or Fault.LostAnswer)), f => Assert.Contains(f, faults.Drawn.Keys));
        }
        finally
        {
            TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{kubelet.Made} pods, {ledger.Writes} writes, {ledger.Holders} leaders, {operators.Sum(o => o.Starts)} starts; faults: {string.Join(", ", faults.Drawn.Select(f => $"{f.Key} {f.Value}"))}"));
            await stop.CancelAsync();
            await kubeletRun;
        }
    }

    // Most fail once to three times, some are disturbed as well, and some can never succeed.
    private static Script Draw(int number) => new(string.Create(CultureInfo.InvariantCulture, $"job-{number:000}"), 2 + number % 2,
        Failures: number % 10 == 9 ? 99 : number % 4, Deletions: number % 5 == 0 ? 1 : 0, MaxRestarts: number % 10 == 9 ? 1 : 10);

    private static async Task CreateAsync(ControlPlane plane, IEnumerable<Script> scripts)
    {
        foreach (Script script in scripts)
        {
            await plane.Api.PostAsync(Load.Jobs, script.Job);
        }
    }

    private static async Task<OperatorProgram> LeaderAsync(OperatorProgram[] operators, WriteLedger ledger)
    {
        await Until(() => operators.Any(o => o.Name == ledger.Holder), "an operator leads", operators);
        return operators.First(o => o.Name == ledger.Holder);
    }

    private static async Task EndedAsync(ControlPlane plane, Script[] scripts, ScriptedKubelet kubelet, OperatorProgram[] operators)
    {
        IReadOnlyDictionary<string, string> ends = new Dictionary<string, string>();
        var clock = Stopwatch.StartNew();
        while (ends.Count(e => e.Value.StartsWith("Complete", StringComparison.Ordinal) || e.Value.StartsWith("Failed", StringComparison.Ordinal)) < scripts.Length)
        {
            Assert.Empty(kubelet.Errors);
            Assert.True(clock.Elapsed < Limit, $"jobs do not end: {string.Join('\n', ends)}\n{Logs(operators)}");
            await Task.Delay(500, TestContext.Current.CancellationToken);
            ends = await Script.EndsAsync(plane.Api);
        }
    }

    private static async Task JudgeAsync(ControlPlane plane, Script[] scripts, ScriptedKubelet kubelet, WriteLedger ledger, OperatorProgram[] operators)
    {
        IReadOnlyDictionary<string, string> ends = await Script.EndsAsync(plane.Api);
        Assert.Empty(scripts.Where(s => ends[s.Name] != s.End).Select(s => $"{s.Name} ended with {ends[s.Name]}, not {s.End}"));
        Assert.Empty(kubelet.Twice);
        Assert.Empty(kubelet.Errors);
        Assert.True(ledger.Wrong.Count == 0, $"{string.Join('\n', ledger.Wrong)}\n{Logs(operators)}");
        Assert.True(ledger.Holders >= 3, $"only {ledger.Holders} processes ever led");

        // No more pods than the jobs needed, and of them nothing goes on.
        int needed = scripts.Sum(s => s.Nodes * int.Parse(s.End.Split(", ")[1].Split(' ')[1], CultureInfo.InvariantCulture));
        Assert.Equal(needed, kubelet.Made);
        JsonElement pods = await plane.Api.GetAsync(Load.Pods);
        Assert.DoesNotContain(pods.GetProperty("items").EnumerateArray(),
            p => p.GetProperty("status").GetProperty("phase").GetString() is not ("Succeeded" or "Failed"));
    }

    // All is said and done when nothing was written for a while; then nothing may be.
    private static async Task QuietAsync(WriteLedger ledger)
    {
        var clock = Stopwatch.StartNew();
        int before;
        do
        {
            before = ledger.Writes;
            await Task.Delay(TimeSpan.FromSeconds(8), TestContext.Current.CancellationToken);
        }
        while (ledger.Writes != before && clock.Elapsed < TimeSpan.FromMinutes(2));

        Assert.Equal(before, ledger.Writes);
    }

    private static async Task Until(Func<bool> condition, string what, OperatorProgram[] operators)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < Limit, $"never came true: {what}\n{Logs(operators)}");
            await Task.Delay(100, TestContext.Current.CancellationToken);
        }
    }

    private static string Logs(OperatorProgram[] operators) => string.Join('\n', operators.Select(o => $"{o.Name}:\n{o.Log}"));
}
