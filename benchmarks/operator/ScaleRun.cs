using System.Diagnostics;
using System.Globalization;

namespace DeepSpeedSharp.Operator.Benchmarks;

/// <summary>What is to be run.</summary>
/// <param name="Jobs">Jobs created at once.</param>
/// <param name="Nodes">Pods of each.</param>
/// <param name="MoreJobs">Jobs of the same size created after those, to reach a number of pods; 0 for none.</param>
/// <param name="IdleSeconds">How long nothing happens at the end, to see what that costs; 0 for not at all.</param>
/// <param name="PlainPods">Pods that this program creates itself before, to see what the API server takes; 0 for none.</param>
internal sealed record ScaleCase(int Jobs, int Nodes, int MoreJobs, int IdleSeconds, int PlainPods)
{
    public int Pods => Jobs * Nodes;

    public int AllPods => (Jobs + MoreJobs) * Nodes;
}

/// <summary>What a run measured.</summary>
internal sealed record ScaleResult(ScaleCase Case)
{
    public double PlainPodsPerSecond { get; set; }

    public Usage Start { get; set; } = new(TimeSpan.Zero, 0, 0);

    public TimeSpan JobsCreated { get; set; }

    public TimeSpan PodsCreated { get; set; }

    public TimeSpan PodsFaked { get; set; }

    public TimeSpan AllRunning { get; set; }

    public (TimeSpan Median, TimeSpan P99) FakerLag { get; set; }

    public (TimeSpan Median, TimeSpan P99) Request { get; set; }

    public Usage AtRunning { get; set; } = new(TimeSpan.Zero, 0, 0);

    public Usage AtAllPods { get; set; } = new(TimeSpan.Zero, 0, 0);

    public AuditLog Writes { get; set; } = new(new Dictionary<string, int>(), 0);

    public OperatorNumbers Numbers { get; set; } = new("");

    public TimeSpan IdleCpu { get; set; }

    public int IdleWrites { get; set; }

    /// <summary>A second operator in the place of the first, which was killed: when its caches are filled.</summary>
    public TimeSpan RestartReady { get; set; }

    public Usage AfterRestart { get; set; } = new(TimeSpan.Zero, 0, 0);

    public int RestartWrites { get; set; }
}

/// <summary>One run: a fresh API server, the operator, jobs, and pods that run as soon as they are there.</summary>
internal static class ScaleRun
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    public static async Task<ScaleResult> RunAsync(ScaleCase scale, ScaleOptions options)
    {
        await using ControlPlane plane = await ControlPlane.StartAsync(options.Folder, options.Kubernetes, options.Definition);
        var result = new ScaleResult(scale);
        var load = new Load(plane.Api);
        if (scale.PlainPods > 0)
        {
            result.PlainPodsPerSecond = await load.CreatePlainPodsAsync(scale.PlainPods);
        }

        OperatorProcess program = await OperatorProcess.StartAsync(plane, options.Operator, options.RequestsPerSecond);
        result.Start = program.Usage();
        var faker = new PodFaker(plane.Api);
        using var stop = new CancellationTokenSource();
        Task background = Task.WhenAll(faker.RunAsync(stop.Token), load.WatchAsync(stop.Token));
        await Task.Delay(1000);
        try
        {
            await MeasureAsync(scale, result, plane, load, program, faker, background);
            if (scale.IdleSeconds > 0)
            {
                await RestartAsync(result, plane, program, options);
            }
        }
        finally
        {
            await stop.CancelAsync();
            await background.ContinueWith(_ => { }, TaskScheduler.Default);
        }

        return result;
    }

    // Nothing has changed, so it should find everything as it is and write nothing.
    private static async Task RestartAsync(ScaleResult result, ControlPlane plane, OperatorProcess program, ScaleOptions options)
    {
        await program.KillAsync();
        AuditLog before = AuditLog.Read(plane.AuditLog);
        var clock = Stopwatch.StartNew();
        OperatorProcess next = await OperatorProcess.StartAsync(plane, options.Operator, options.RequestsPerSecond);
        result.RestartReady = clock.Elapsed;
        await Task.Delay(TimeSpan.FromSeconds(result.Case.IdleSeconds));
        result.AfterRestart = next.Usage();
        result.RestartWrites = AuditLog.Read(plane.AuditLog).Since(before).All;
    }

    private static async Task MeasureAsync(ScaleCase scale, ScaleResult result, ControlPlane plane, Load load,
        OperatorProcess program, PodFaker faker, Task background)
    {
        var clock = Stopwatch.StartNew();
        result.JobsCreated = await load.CreateAsync("job", scale.Jobs, scale.Nodes);
        result.PodsCreated = await UntilAsync(() => faker.Created >= scale.Pods, "all pods are created");
        result.PodsFaked = await UntilAsync(() => faker.Faked >= scale.Pods, "all pods are faked");
        result.AllRunning = await UntilAsync(() => load.Running >= scale.Jobs, "all jobs are Running");
        result.AtRunning = program.Usage();
        (result.FakerLag, result.Request, result.Numbers) = (faker.Lag, faker.Request, await program.NumbersAsync());
        result.Writes = await AtRestAsync();
        Progress($"{scale.Jobs} x {scale.Nodes}: all Running after {result.AllRunning.TotalSeconds:0.0} s, {result.AtRunning.PeakMiB:0} MiB, {result.AtRunning.Cpu.TotalSeconds:0.0} s CPU");
        if (scale.MoreJobs > 0)
        {
            await load.CreateAsync("more", scale.MoreJobs, scale.Nodes);
            await UntilAsync(() => load.Running >= scale.Jobs + scale.MoreJobs, "all further jobs are Running");
            _ = await AtRestAsync();
        }

        result.AtAllPods = program.Usage();
        if (scale.IdleSeconds > 0)
        {
            (AuditLog before, Usage begin) = (AuditLog.Read(plane.AuditLog), program.Usage());
            await Task.Delay(TimeSpan.FromSeconds(scale.IdleSeconds));
            result.IdleCpu = program.Usage().Cpu - begin.Cpu;
            result.IdleWrites = AuditLog.Read(plane.AuditLog).Since(before).All;
        }

        async Task<TimeSpan> UntilAsync(Func<bool> condition, string what)
        {
            var begin = Stopwatch.StartNew();
            long shown = 0;
            while (!condition())
            {
                if (begin.Elapsed > Limit || program.HasEnded || background.IsFaulted || load.Failed is not null)
                {
                    await background.WaitAsync(TimeSpan.Zero).ContinueWith(t => Progress($"{t.Exception?.InnerException?.Message}"), TaskScheduler.Default);
                    throw new TimeoutException(string.Create(CultureInfo.InvariantCulture,
                        $"not within {Limit.TotalSeconds} s: {what} ({faker.Created} pods created, {faker.Faked} faked, {load.Running} jobs Running{(load.Failed is { } job ? $", job {job} Failed" : "")})\n{plane.LogOf("operator")}"));
                }

                if (begin.Elapsed.TotalSeconds > shown + 10)
                {
                    shown += 10;
                    Progress($"{clock.Elapsed.TotalSeconds:0} s: {faker.Created} pods created, {faker.Faked} faked, {load.Running} jobs Running, {program.Usage().MemoryMiB:0} MiB");
                }

                await Task.Delay(20);
            }

            return clock.Elapsed;
        }

        async Task<AuditLog> AtRestAsync()
        {
            AuditLog last = AuditLog.Read(plane.AuditLog);
            while (true)
            {
                await Task.Delay(3000);
                AuditLog now = AuditLog.Read(plane.AuditLog);
                if (now.All == last.All)
                {
                    return now;
                }

                last = now;
            }
        }
    }

    private static void Progress(FormattableString text) => Console.Error.WriteLine(text.ToString(CultureInfo.InvariantCulture));
}
