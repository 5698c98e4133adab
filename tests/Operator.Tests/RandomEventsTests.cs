using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using Microsoft.AspNetCore.Http;

namespace DeepSpeedSharp.Operator.Tests;

/// <summary>Ten thousand things that happen to clusters, in random order, while every promise about attempts is checked at
/// every single write. <c>RANDOM_EVENTS_SEED</c> repeats a run, as far as two processors allow.</summary>
public sealed class RandomEventsTests
{
    private const int Events = 10_000;

    private static readonly (string Name, string Spec)[] Jobs =
    [
        ("plain", """{"image":"w","numNodes":3,"restart":{"maxRestarts":100000}}"""),
        ("strict", """{"image":"w","numNodes":2,"restart":{"maxRestarts":30,"backoffSeconds":1,"backoffMaxSeconds":8}}"""),
        ("quick", """{"image":"w","numNodes":4,"restart":{"maxRestarts":100000,"strategy":"Replace","backoffSeconds":0,"nodeLossSeconds":5}}"""),
        ("elastic", """
            {"image":"w","numNodes":4,"config":{"train_batch_size":12},"elastic":{"minNodes":1,"maxNodes":6,"scaleDownAfterSeconds":20,"scaleUpCheckSeconds":60},
             "restart":{"maxRestarts":100000,"backoffMaxSeconds":20},"scheduling":{"podDisruptionBudget":true}}
            """),
        ("timed", """{"image":"w","numNodes":2,"successPolicy":"Rank0","startupDeadlineSeconds":500,"ttlSecondsAfterFinished":100,"restart":{"maxRestarts":100000}}"""),
    ];

    [Fact]
    public async Task AnyEvents_InAnyOrder_KeepEveryPromise()
    {
        int seed = int.TryParse(Environment.GetEnvironmentVariable("RANDOM_EVENTS_SEED"), out int given) ? given : Random.Shared.Next();
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        var promises = new Promises(cluster.Api.Store);
        var world = new World(cluster, new Random(seed));
        try
        {
            await world.RunAsync(Events, promises);
            await world.HealAsync();
            await cluster.UntilQuiet();

            // Clocks that still run (a clean-up, a larger size) may write once more each; then there is nothing left to write.
            int writes, rounds = 0;
            do
            {
                writes = cluster.Api.Writes;
                await cluster.Settle(30);
                await cluster.UntilQuiet();
            }
            while (cluster.Api.Writes != writes && ++rounds < 20);

            promises.Check();
            Assert.Equal(writes, cluster.Api.Writes);

            // Much really happened: a cluster in which nothing starts would keep every promise.
            Assert.All(new[] { "restarts", "disruptions", "resizes", "resumes" }, counter => Assert.True(promises.Seen[counter] > 5,
                $"only {promises.Seen[counter]} {counter}"));
            Assert.True(promises.Ended > 5, $"only {promises.Ended} jobs ended");
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            Assert.Fail(string.Create(CultureInfo.InvariantCulture, $"RANDOM_EVENTS_SEED={seed}, event {world.Event}: {e.Message}"));
        }
    }

    /// <summary>What the operator promises, checked under the lock of the store, so that nothing slips between two looks.</summary>
    private sealed class Promises
    {
        private readonly List<string> _broken = [];

        public Promises(ObjectStore store)
        {
            store.Creating = (plural, body) => PodIsAllowed(store, plural, body);
            store.Patched = StatusIsAllowed;
        }

        /// <summary>How often each counter went up.</summary>
        public Dictionary<string, int> Seen { get; } = new() { ["restarts"] = 0, ["disruptions"] = 0, ["resizes"] = 0, ["resumes"] = 0 };

        /// <summary>Jobs that completed or failed.</summary>
        public int Ended { get; private set; }

        public void Check()
        {
            lock (_broken)
            {
                Assert.Empty(_broken);
            }
        }

        private void PodIsAllowed(ObjectStore store, string plural, JsonObject pod)
        {
            if (plural != "pods")
            {
                return;
            }

            JsonNode metadata = pod["metadata"]!;
            (string name, string uid) = ((string)metadata["name"]!, (string)metadata["ownerReferences"]![0]!["uid"]!);
            (int attempt, int index) = (Label(metadata, "attempt"), Label(metadata, "node-rank"));
            JsonNode? job = store.Find("deepspeedjobs", (string)metadata["ownerReferences"]![0]!["name"]!);
            if (job is null || (string?)job["metadata"]!["uid"] != uid)
            {
                return; // of a job that was deleted this moment; the garbage collector takes it
            }

            int current = (int?)job["status"]?["attempt"] ?? 0;
            Expect(attempt <= current, $"{name} was created in attempt {current}");
            Expect(!Is(job, "Complete") && !Is(job, "Failed"), $"{name} was created for a finished job");
            Expect(!store.All("pods").Any(p => (string?)p["metadata"]!["ownerReferences"]![0]!["uid"] == uid
                && Label(p["metadata"]!, "attempt") == attempt && Label(p["metadata"]!, "node-rank") == index),
                $"{name} is a second pod of node {index} in attempt {attempt}");
        }

        private void StatusIsAllowed(string plural, JsonObject before, JsonObject after)
        {
            if (plural != "deepspeedjobs" || after["status"] is not { } status)
            {
                return;
            }

            string name = (string)after["metadata"]!["name"]!;
            foreach (string counter in new[] { "attempt", "restarts", "disruptions", "resizes", "resumes", "createdAttempt", "readyAttempt" })
            {
                Expect(Count(status, counter) >= Count(before["status"], counter), $"{counter} of {name} went down: {status.ToJsonString()}");
            }

            Ended += (Is(after, "Complete") || Is(after, "Failed")) && !Is(before, "Complete") && !Is(before, "Failed") ? 1 : 0;
            foreach (string counter in Seen.Keys.Where(c => Count(status, c) > Count(before["status"], c)))
            {
                Seen[counter]++;
            }

            int attempt = Count(status, "attempt");
            int sum = new[] { "restarts", "disruptions", "resizes", "resumes" }.Sum(c => Count(status, c)) + 1;
            Expect(attempt == 0 || attempt == sum, $"{name} is in attempt {attempt}, and its counters say {sum}");
            Expect(attempt <= Count(before["status"], "attempt") + 1, $"{name} skipped an attempt");
            Expect(!(Is(after, "Complete") && Is(after, "Failed")), $"{name} is complete and failed");
            Expect(!Is(before, "Complete") || Is(after, "Complete"), $"{name} was complete");
            Expect(Count(status, "createdAttempt") <= attempt && Count(status, "readyAttempt") <= attempt, $"{name} created an attempt to come");
        }

        private void Expect(bool holds, string what)
        {
            if (!holds)
            {
                lock (_broken)
                {
                    _broken.Add(what);
                }
            }
        }

        private static int Label(JsonNode metadata, string label) =>
            int.Parse((string)metadata["labels"]![$"deepspeedsharp.dev/{label}"]!, CultureInfo.InvariantCulture);

        private static int Count(JsonNode? status, string counter) => (int?)status?[counter] ?? 0;

        private static bool Is(JsonNode job, string type) => job["status"]?["conditions"]?.AsArray()
            .Any(c => (string?)c!["type"] == type && (string?)c["status"] == "True") == true;
    }

    /// <summary>A cluster in which much goes wrong.</summary>
    private sealed class World(FakeOperator cluster, Random random)
    {
        private static readonly int[] ExitCodes = [1, 1, 69, 69, 137, 143, 64];
        private static readonly string[] Machines = ["node-1", "node-2", "node-3", "node-4"];
        private readonly Lock _lock = new();
        private bool _isWell;

        public int Event { get; private set; }

        public async Task RunAsync(int events, Promises promises)
        {
            cluster.Api.Store.PodsEndSlowly = true;
            cluster.Api.Intercept = FaultAsync;
            cluster.Api.LoseAnswer = _ => Chance(0.01);
            foreach (string machine in Machines)
            {
                cluster.Api.Machine(machine, isReady: true, Now);
            }

            for (Event = 1; Event <= events; Event++)
            {
                Happen();
                cluster.Time.Advance(TimeSpan.FromMilliseconds(random.Next(50, 700)));
                await Task.Delay(Event % 4 == 0 ? 1 : 0, TestContext.Current.CancellationToken);
                promises.Check();
            }
        }

        /// <summary>Nothing goes wrong any more: every job comes to its end.</summary>
        public async Task HealAsync()
        {
            _isWell = true;
            cluster.Api.Intercept = null;
            cluster.Api.LoseAnswer = null;
            cluster.Api.CutConnections(); // also what hangs
            foreach (string machine in Machines)
            {
                cluster.Api.Machine(machine, isReady: true, Now);
            }

            await cluster.Until(() => cluster.Api.Store.All("deepspeedjobs").All(j => (string?)j["status"]?["phase"] is "Complete" or "Failed"),
                "all jobs end", () =>
                {
                    foreach (JsonObject job in cluster.Api.Store.All("deepspeedjobs"))
                    {
                        if ((bool?)job["spec"]!["suspend"] == true)
                        {
                            Edit((string)job["metadata"]!["name"]!, """{"suspend":false}""");
                        }
                    }

                    foreach (JsonObject pod in cluster.Api.Store.All("pods"))
                    {
                        Serve(pod, failing: false);
                    }

                    return Task.CompletedTask;
                });
        }

        private DateTimeOffset Now => cluster.Time.GetUtcNow();

        private void Happen()
        {
            foreach ((string name, string spec) in Jobs)
            {
                if (cluster.Api.Store.Find("deepspeedjobs", name) is null)
                {
                    CollectGarbage();
                    cluster.Apply(name, spec);
                }
            }

            JsonObject[] pods = [.. cluster.Api.Store.All("pods")];
            switch (random.Next(100))
            {
                case < 80 when pods.Length > 0:
                    foreach (JsonObject pod in random.GetItems(pods, 3))
                    {
                        Serve(pod, failing: true);
                    }

                    break;
                case < 84 when pods.Length > 0:
                    cluster.Api.Store.Change("pods", Name(random.GetItems(pods, 1)[0]), p => { }); // an event that says nothing
                    break;
                case < 87:
                    cluster.Api.Machine(random.GetItems(Machines, 1)[0], isReady: Chance(0.7), Now);
                    break;
                case < 89:
                    Edit(RandomJob(), Chance(0.3) ? """{"suspend":true}""" : """{"suspend":false}""");
                    break;
                case < 90:
                    Edit("elastic", $$"""{"numNodes":{{random.Next(1, 7)}}}""");
                    break;
                case < 91 when Chance(0.3):
                    Vanish(RandomJob(), "deepspeedjobs");
                    break;
                case < 92:
                    cluster.Api.Kill(cluster.Client);
                    cluster.Start();
                    break;
                case < 93:
                    cluster.Api.Store.Compact();
                    break;
                case < 94:
                    cluster.Api.CutConnections();
                    break;
                default:
                    break;
            }
        }

        // What scheduler, kubelet, users and bad luck do to a pod.
        private void Serve(JsonObject pod, bool failing)
        {
            string name = Name(pod);
            string? phase = (string?)pod["status"]?["phase"];
            bool isEnding = pod["metadata"]!["deletionTimestamp"] is not null;
            if (isEnding || (failing && Chance(0.01)))
            {
                // It vanishes, whatever it did; a deleted pod mostly leaves no other trace.
                Vanish(name);
            }
            else if (phase is null || (phase == "Pending" && Chance(0.5)))
            {
                if (failing && phase is null && Chance(0.1))
                {
                    cluster.Api.Unschedulable(name, "0/4 nodes are available");
                }
                else
                {
                    cluster.Api.Run(name, machine: random.GetItems(Machines, 1)[0]);
                }
            }
            else if (phase == "Running" && (!failing || Chance(0.1)))
            {
                bool fails = failing && Chance(0.4);
                cluster.Api.End(name, fails ? random.GetItems(ExitCodes, 1)[0] : 0, Now);
                if (fails && Chance(0.2))
                {
                    cluster.Api.Store.Change("pods", name, p => p["status"]!["reason"] = "Evicted");
                }
            }
        }

        private void Edit(string job, string patch)
        {
            try
            {
                cluster.Edit(job, patch);
            }
            catch (StoreException)
            {
                // Its time after the end was over.
            }
        }

        private void Vanish(string name, string plural = "pods")
        {
            try
            {
                cluster.Api.Kill(plural, name);
            }
            catch (StoreException)
            {
                // The operator was faster.
            }
        }

        private void CollectGarbage()
        {
            HashSet<string?> alive = [.. cluster.Api.Store.All("deepspeedjobs").Select(j => (string?)j["metadata"]!["uid"])];
            foreach (string plural in new[] { "pods", "services", "configmaps", "poddisruptionbudgets" })
            {
                foreach (JsonObject item in cluster.Api.Store.All(plural)
                    .Where(o => o["metadata"]!["ownerReferences"] is JsonArray owners && !alive.Contains((string?)owners[0]!["uid"])))
                {
                    Vanish(Name(item), plural);
                }
            }
        }

        private async Task<bool> FaultAsync(HttpContext context)
        {
            if (_isWell || !Chance(0.04))
            {
                return false;
            }

            switch (Next(5))
            {
                case 0 when context.Request.Method == "PATCH":
                    return await AnswerAsync(context, HttpStatusCode.Conflict, "Conflict");
                case 1 when context.Request.Method == "GET":
                    return await AnswerAsync(context, HttpStatusCode.Gone, "Expired");
                case 2:
                    context.Response.Headers.RetryAfter = "1";
                    return await AnswerAsync(context, HttpStatusCode.TooManyRequests, "TooManyRequests");
                case 3:
                    return await AnswerAsync(context, HttpStatusCode.InternalServerError, "InternalError");
                case 4 when Chance(0.2):
                    await Task.Delay(Timeout.Infinite, context.RequestAborted); // until the client gives up
                    return true;
                default:
                    return false;
            }
        }

        private static async Task<bool> AnswerAsync(HttpContext context, HttpStatusCode code, string reason)
        {
            context.Response.StatusCode = (int)code;
            await context.Response.WriteAsync(new StoreException(code, reason, "injected").ToStatus().ToJsonString(), context.RequestAborted);
            return true;
        }

        private string RandomJob() => random.GetItems(Jobs, 1)[0].Name;

        private static string Name(JsonObject item) => (string)item["metadata"]!["name"]!;

        // Requests come from other threads than events.
        private int Next(int limit)
        {
            lock (_lock)
            {
                return random.Next(limit);
            }
        }

        private bool Chance(double share)
        {
            lock (_lock)
            {
                return random.NextDouble() < share;
            }
        }
    }
}
