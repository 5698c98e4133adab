namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>The jobs of a random run: between them they use every policy that decides about pods.</summary>
internal static class ChaosJobs
{
    /// <summary>Names and specs.</summary>
    public static IReadOnlyList<(string Name, string Spec)> All { get; } =
    [
        ("plain", """{"image":"w","numNodes":3,"restart":{"maxRestarts":100000,"backoffSeconds":2,"backoffMaxSeconds":10,"nodeLossSeconds":15,"resetAfterSeconds":40},"ttlSecondsAfterFinished":60,"progress":{"mode":"None"}}"""),
        ("strict", """{"image":"w","numNodes":2,"restart":{"maxRestarts":1,"backoffSeconds":1,"backoffMaxSeconds":8},"cleanPodPolicy":"All","ttlSecondsAfterFinished":20,"progress":{"mode":"None"}}"""),
        ("quick", """{"image":"w","numNodes":4,"keepFailedPods":0,"restart":{"maxRestarts":100000,"strategy":"Replace","backoffSeconds":0,"nodeLossSeconds":5},"progress":{"mode":"None"}}"""),
        ("elastic", """
            {"image":"w","numNodes":4,"config":{"train_batch_size":12},"elastic":{"minNodes":1,"maxNodes":6,"scaleDownAfterSeconds":20,"scaleUpCheckSeconds":60},
             "restart":{"maxRestarts":100000,"backoffSeconds":3,"backoffMaxSeconds":10,"nodeLossSeconds":10},"scheduling":{"podDisruptionBudget":true},
             "ttlSecondsAfterFinished":30,"progress":{"mode":"None"}}
            """),
        ("timed", """
            {"image":"w","numNodes":2,"successPolicy":"Rank0","startupDeadlineSeconds":90,"ttlSecondsAfterFinished":40,"cleanPodPolicy":"None",
             "restart":{"maxRestarts":100000,"backoffSeconds":1,"backoffMaxSeconds":4},"progress":{"mode":"None"}}
            """),
        ("ruled", """
            {"image":"w","numNodes":2,"keepFailedPods":3,"ttlSecondsAfterFinished":15,"progress":{"mode":"None"},
             "restart":{"maxRestarts":1,"maxDisruptions":6,"backoffSeconds":1,"backoffMaxSeconds":2,"nodeLossSeconds":8,"rules":[
               {"name":"hopeless","exitCodes":[3],"action":"FailJob"},{"name":"hardware","exitCodes":[4],"action":"RestartIgnoreLimit","avoidNode":true}]}}
            """),
        ("foreign", """{"image":"w","numNodes":2,"managedBy":"example.com/another"}"""),
        ("malformed", """{"image":5,"numNodes":99999999999999999999,"restart":{"strategy":"Sometimes","maxRestarts":"many"}}"""),
    ];

    /// <summary>The job whose program fails every time.</summary>
    public const string Hopeless = "strict";

    /// <summary>Jobs that are worth an event; the others are only there to be left alone.</summary>
    public static IReadOnlyList<string> Lively { get; } = [.. All.Select(j => j.Name).Where(n => n is not "foreign" and not "malformed")];

    /// <summary>An edit that changes what pods are made of, or that makes no sense and is mended by a later one.</summary>
    public static string Edit(string job, int number, Func<int, int> random) => random(8) switch
    {
        0 or 1 or 2 => $$"""{"image":"w{{number % 50}}"}""",
        3 => $$$$$"""{"template":{"metadata":{"labels":{"edit":"e{{{{{number % 50}}}}}"}}}}""",
        4 when job != "elastic" => """{"numNodes":0}""",
        _ => $$"""{"numNodes":{{random(job == "strict" ? 3 : 6) + 1}}}""",
    };
}
