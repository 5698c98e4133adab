namespace DeepSpeedSharp.Operator.Tests.Scenarios;

/// <summary>What the tests of other operators for training jobs tell, and where ours tell it.</summary>
/// <param name="Number">Number of the scenario.</param>
/// <param name="Title">What happens, and who tests it: JS JobSet, MPI, PT PyTorchJob, TJ TrainJob, Ray KubeRay.</param>
/// <param name="Tests">Our tests, as Class.Method.</param>
internal sealed record Scenario(int Number, string Title, params string[] Tests)
{
    /// <summary>Why it does not apply; null when it does.</summary>
    public string? NotApplicable { get; init; }

    /// <summary>Why none of its tests runs on a real API server; null when one does, as it should.</summary>
    public string? NotOnAServer { get; init; }
}

/// <summary>All scenarios. A test fails when one of them has neither a test on a real API server nor a reason. Those tests are in
/// Operator.Server.Tests and Operator.Cluster.Tests.</summary>
internal static class ScenarioTable
{
    public static readonly Scenario[] All =
    [
        // Creation and naming
        new(1, "A job makes one Service and its pods, with right names, labels, owners and variables (all)",
            "GoldenTests.Objects_OfAJob_AreAsExpected", "TrainingTests.SampleJob_OnTwoNodes_TrainsToItsEnd",
            "CreationScenarios.S1_JobIsCreated_OneServiceAndItsPodsExist"),
        new(2, "Defaults are applied (all)",
            "JobDefinitionTests.Defaults_OfTheSchema_AreThoseOfTheCode", "ServerScenarios.LeastJob_GetsItsDefaultsFromTheServer"),
        new(3, "Children of an object with generateName use its final name (JS)", "ServerScenarios.GenerateName_GivesChildrenTheFinalName"),
        new(4, "A name that is too long is refused (Ray, JS)",
            "ServerScenarios.Name_TooLong_IsRefusedByTheServer", "JobValidationTests.CheckName_Name_MustBePartOfAHostName"),
        new(5, "A child of the same name with another owner is left alone and reported (JS, MPI)",
            "ClusterScenarios.Pod_OfTheSameNameAndAnotherOwner_IsReportedAndLeftAlone", "ControllerTests.Service_OfAnotherOwner_WaitsForItToGo",
            "CreationScenarios.S5_PodOfAnotherOwner_IsReportedAndLeftAlone"),
        new(6, "A Service deleted by hand is made again (JS)",
            "ClusterScenarios.Service_DeletedByHand_IsMadeAgain", "ServerScenarios.Service_DeletedByHand_IsMadeAgainOnTheServer"),
        new(7, "A ConfigMap cannot be edited by hand (MPI restores it; ours is immutable)", "ServerScenarios.ConfigMap_OfAnAttempt_CannotBeEdited"),
        new(8, "The hostfile names all nodes (MPI)",
            "GoldenTests.Objects_OfAJob_AreAsExpected", "JobPlanTests.From_AnyShape_NumbersRanksInHostfileOrder",
            "CreationScenarios.S8_HostfileOfAJob_NamesAllNodesInTheOrderOfRanks"),
        new(9, "Applying the same manifest again changes no generation (JS)", "ServerScenarios.Manifest_AppliedAgain_ChangesNothing"),
        new(10, "An invalid spec has an event and a condition, no pods and no hot loop (MPI, Ray)",
            "ControllerTests.Spec_Invalid_FailsWithoutPodsUntilEdited", "InvalidJobTests.Config_ThatDoesNotFit_FailsWithTheProblemAndWithoutPods"),

        // Network
        new(11, "Pods find one another by host name (JS)", "TrainingTests.SampleJob_OnTwoNodes_TrainsToItsEnd"),
        new(12, "A subdomain of one's own (JS): ours belongs to the job",
            "DecisionScenarios.Subdomain_OfTheTemplate_IsRefused", "CreationScenarios.S12_SubdomainOfOnesOwn_IsRefused"),
        new(13, "Host network (MPI)", "DecisionScenarios.HostNetwork_OfAJob_KeepsTheClustersNames", "CreationScenarios.S13_HostNetwork_KeepsTheClustersNames"),
        new(14, "Images with and without root (MPI)", "DecisionScenarios.Image_ThatNeedsRoot_MaySaySo", "CreationScenarios.S14_ImageThatNeedsRoot_MaySaySo"),

        // Success and failure
        new(15, "All pods succeed: Complete, completionTime, children cleaned (JS, MPI, Ray)",
            "ControllerTests.Job_AllNodesSucceed_IsComplete", "JobEndTests.Pods_OfAFinishedJob_GoByThePolicy",
            "SuccessScenarios.S15_AllPodsSucceed_JobIsCompleteAndItsPodsStay"),
        new(16, "Not complete while a rank is unfinished (JS)",
            "JobEndTests.Rank0_OfAJobOfAllNodes_IsNotEnough", "SuccessScenarios.S16_OneRankIsUnfinished_JobGoesOn"),
        new(17, "Success policies (JS)",
            "JobEndTests.Pods_OfAFinishedJob_GoByThePolicy", "ControllerTests.Job_AllNodesSucceed_IsComplete",
            "SuccessScenarios.S17_OneNodeSucceeds_ThePolicyDecides"),
        new(18, "A malformed command fails the job (MPI)", "ServerScenarios.Command_ThatDoesNotExist_FailsTheJobAndSaysSo"),
        new(19, "Without a restart policy one failure fails the job (JS)",
            "FailurePolicyTests.PolicyNever_EndsTheJobAtAnyFailure", "RestartScenarios.S19_PolicyNever_OneFailureFailsTheJob"),
        new(20, "The limit of restarts is reached: Failed with a reason (JS)",
            "JobDecisionTests.Failure_BeyondTheLimit_FailsTheJobAndCleansUp", "LifecycleTests.Job_ThatFails_TellsWhoFailedFirstAndGoesAfterItsTime",
            "RestartScenarios.S20_LimitOfRestartsIsReached_JobFailsWithItsReason"),
        new(21, "Fail, restart once, succeed (JS)",
            "ClusterScenarios.Job_FailsAndStartsAgain_RestartingGoesTrueAndFalse", "RestartTests.Worker_Killed_IsACountedRestart",
            "RestartScenarios.S21_FailsOnce_StartsAgainAndSucceeds"),
        new(22, "Rules: fail, restart, ignore the limit, first match, reasons and patterns (JS)",
            "FailurePolicyTests.Rule_FirstThatMatches_Decides", "FailurePolicyTests.RuleToFail_FailsTheJobAndNamesItself",
            "FailureScenarios.S22_FirstRuleThatMatches_Decides"),
        new(23, "A blocking restart waits for old pods, the other does not (JS)",
            "JobDecisionTests.Restart_OldPodsThere_WaitsForTheirEndAndForBackoff", "JobEndTests.StrategyReplace_DoesNotWaitForOldPods",
            "RestartScenarios.S23_OldPodsThatEndSlowly_AreWaitedForOrNot"),
        new(24, "The condition Restarting goes True, then False (JS)",
            "ClusterScenarios.Job_FailsAndStartsAgain_RestartingGoesTrueAndFalse", "RestartScenarios.S24_JobStartsAgain_RestartingGoesTrueAndFalse"),
        new(25, "Exit codes: permanent or worth a restart (PT)",
            "FailurePolicyTests.Rule_FirstThatMatches_Decides", "NodeFailureTests.Refusal_ThatIsRetryable_IsCounted",
            "FailureScenarios.S25_ExitCode_TellsWhetherToTryAgain"),
        new(26, "Eviction and DisruptionTarget (MPI, Job)",
            "NodeFailureTests.DisruptionTarget_OfAPod_IsADisruption", "FailurePolicyTests.Disruption_IsNotJudgedByRules",
            "FailureScenarios.S26_EvictionAndDrain_DoNotCount"),
        new(27, "A limit of container restarts (PT)", "RestartScenarios.S27_RestartsInPlace_AreRefused"),
        new(28, "Each retry is a fresh attempt and counted (Ray)",
            "ControllerTests.Node_Fails_RestartsAllAfterBackoff", "RestartScenarios.S28_EachRetry_IsAFreshAttempt"),
        new(29, "A pod deleted while it runs (Ray)",
            "ControllerTests.Pod_Deleted_RestartsWithoutCounting", "RestartTests.Pod_DeletedWhileTheOperatorRestarts_WholeJobGoesOnFromTheLastCheckpoint",
            "FailureScenarios.S29_PodIsDeletedWhileItRuns_JobStartsAgainWithoutCounting"),
        new(30, "cleanPodPolicy All, Running, None (PT, MPI)",
            "JobEndTests.Pods_OfAFinishedJob_GoByThePolicy", "SuccessScenarios.S30_JobEnds_PodsGoByThePolicy"),
        new(31, "Deletion strategies with a time per condition (Ray)") { NotApplicable = "one ttlSecondsAfterFinished for all ends" },

        // Time
        new(32, "activeDeadlineSeconds, and its clock after a resume (TJ, Ray)",
            "JobDeadlinesTests.ActiveDeadline_Passed_FailsTheJob", "JobDeadlinesTests.ActiveDeadline_CountsAnewAfterAResume",
            "TimeScenarios.S32And35_ActiveDeadline_CountsAnewAfterAResume_AndFailsTheJob"),
        new(33, "A deadline before all pods run (Ray)",
            "JobDeadlinesTests.StartupDeadline_Passed_SaysWhatThePodsWaitFor", "TimeScenarios.S33_PodsFindNoPlace_StartupDeadlineSaysWhatTheyWaitedFor"),
        new(34, "A finished job is deleted after its time; zero; a clock that is behind (JS, PT)",
            "DecisionScenarios.Ttl_OfAFinishedJob_CountsFromItsEnd", "ControllerTests.Job_AfterItsTime_IsDeleted",
            "TimeScenarios.S34_FinishedJob_IsDeletedAfterItsTime"),
        new(35, "The start time after a resume (PT, MPI)",
            "JobDeadlinesTests.ActiveDeadline_CountsAnewAfterAResume", "TimeScenarios.S32And35_ActiveDeadline_CountsAnewAfterAResume_AndFailsTheJob"),

        // Suspension and queues
        new(36, "Created suspended: no pods (PT, MPI, JS, Ray)",
            "ClusterScenarios.Job_CreatedSuspendedThenRunThenSuspended_HasNoPodsAndNoCounts", "SuspensionScenarios.S36_CreatedSuspended_HasNoPods"),
        new(37, "Suspended while running: pods go, condition and counts follow",
            "ClusterScenarios.Job_CreatedSuspendedThenRunThenSuspended_HasNoPodsAndNoCounts",
            "SuspensionScenarios.S37_SuspendedWhileItRuns_PodsGo_AndCountsAreZero"),
        new(38, "Resumed: pods come again",
            "ControllerTests.Job_SuspendedAndResumed_StartsAnewWithoutCounting", "LifecycleTests.Job_SuspendedAndResumed_GoesOnFromItsCheckpoint",
            "SuspensionScenarios.S38To40_EditsWait_ForTheNextStart_WhichShowsThemAll"),
        new(39, "The template changed while suspended is seen on the next pods (JS, MPI)",
            "ClusterScenarios.Template_EditedWhileSuspended_IsSeenOnTheNextPods", "SuspensionScenarios.S38To40_EditsWait_ForTheNextStart_WhichShowsThemAll"),
        new(40, "Changes while running (JS, TJ refuse them; ours wait for the next start)",
            "JobDecisionTests.Edit_OfARunningJob_WaitsForTheNextStart", "SuspensionScenarios.S38To40_EditsWait_ForTheNextStart_WhichShowsThemAll"),
        new(41, "managedBy of another controller: untouched; a bad one: refused (all)",
            "ControllerTests.Job_OfAnotherController_IsLeftAlone", "LifecycleRulesTests.Spec_ThatBreaksARule_IsRefusedByName",
            "JobDefinitionTests.Rules_OverSeveralFields_AreInTheSchema", "SuspensionScenarios.S41_JobOfAnotherController_IsUntouched_AndABadOneIsRefused"),
        new(42, "The HPA goes with a suspension (PT)") { NotApplicable = "no HPA is made; the scale subresource is there for autoscalers of one's own" },
        new(43, "The queue cannot be renamed (PT)", "SuspensionScenarios.S43_QueueOfARunningJob_CannotBeChanged"),

        // Gangs
        new(44, "A PodGroup with all that it needs (MPI, PT)",
            "GangTests.Coscheduling_44And45_NoPodStartsUntilAllFit_AndTheGroupFollowsTheJob", "GangTests.Volcano_44_PodsAreMadeWhenTheGroupIsIn"),
        new(45, "Pods stay Pending when the gang does not fit (MPI)", "GangTests.Coscheduling_44And45_NoPodStartsUntilAllFit_AndTheGroupFollowsTheJob"),
        new(46, "Preemption of a gang; racks (JS)",
            "NodeFailureTests.DisruptionTarget_OfAPod_IsADisruption", "GoldenTests.Objects_OfAJob_AreAsExpected",
            "FailureScenarios.S46_GangIsPreempted_IsOneDisruption_AndItsRackIsKept"),

        // Order and storage
        new(47, "Jobs of jobs that depend on each other (JS)") { NotApplicable = "a job is one gang; init containers of the template come before it" },
        new(48, "A launcher waits for its workers (MPI)") { NotApplicable = "there is no launcher pod; ranks wait for each other" },
        new(49, "A claim is made, stays or goes with the job, also of one created suspended (JS)",
            "ClusterScenarios.Claim_OfAJob_IsOwnedByItOnlyWhenItShallGoWithIt", "LifecycleTests.Job_Deleted_LeavesOnlyTheClaim",
            "ServerScenarios.Claim_ToDelete_GoesWithItsJob"),
        new(50, "Initializers run before the trainer (TJ, JS)",
            "GoldenTests.Objects_OfAJob_AreAsExpected", "ChangeScenarios.S50_Initializers_ArePartOfEachPod_AndKnowTheirRank"),

        // Runtimes and changes
        new(51, "An edit of what a job refers to does not touch it while it runs (TJ)",
            "ClusterScenarios.ConfigMap_EditedWhileTheJobRuns_AppliesToTheNextStart",
            "ChangeScenarios.S51And52_WhatAJobRefersToIsMissing_ItWaits_AndLaterEditsAreForTheNextStart"),
        new(52, "What a job refers to is missing: it waits, and starts when that is there (TJ)",
            "ControllerTests.ConfigMap_Missing_WaitsAndThenStarts", "ChangeScenarios.S51And52_WhatAJobRefersToIsMissing_ItWaits_AndLaterEditsAreForTheNextStart"),
        new(53, "Reserved variables are refused (TJ)",
            "ClusterRulesTests.Everything_Wrong_IsReportedTogether", "JobValidationTests.ReservedVariables_CoverEveryVariableOfAPlan",
            "ChangeScenarios.S53_ReservedVariables_AreRefusedTogether"),
        new(54, "An elastic job changes its size (JS)",
            "JobSizeTests.NumNodes_Edited_ResizesARunningJob", "ChangeScenarios.S54_ElasticJob_ChangesItsSize_AndShrinksWhenThereIsNoRoom"),
        new(55, "kubectl scale (PT)", "ServerScenarios.Scale_OfAnElasticJob_ChangesItsSize"),

        // Status and progress
        new(56, "Counts for every mix of pods (JS, MPI)", "DecisionScenarios.Counts_OfAnyMixOfPods_AddUp", "StatusScenarios.S56_CountsOfAnyMixOfPods_AddUp"),
        new(57, "Reports of progress: wrong job, wrong attempt, too large (TJ)",
            "DecisionScenarios.Progress_OfAnotherAttemptOrJob_IsNotTakenOver", "ProgressReportTests.Parse_TooLong_IsNothing",
            "StatusScenarios.S57_ReportsOfAnotherAttemptOrTooLarge_AreNotTakenOver"),
        new(58, "Counters move once per transition, not per pass (MPI)",
            "ClusterScenarios.Metrics_OfManyPasses_CountEachTransitionOnce", "StatusScenarios.S58_Metrics_CountEachTransitionOnce"),

        // The operator itself
        new(59, "Killed at every write, before it and after it: the same end, no second pods, exact counters",
            "CrashPointTests.Operator_KilledAtAnyWrite_ReachesTheSameState", "OperatorScenarios.S59_KilledAtRandomWrites_BeforeAndAfterThem_TheEndIsTheSame"),
        new(60, "Watches: versions that are gone again and again, events lost, told twice and exchanged, streams that end or fall silent",
            "RobustnessScenarios.Watches_ThatLie_DoNotHurtAJob", "ListWatcherTests.Version_ThatIsGone_LeadsToANewList",
            "ListWatcherTests.Watch_WithoutALine_IsTakenForDead", "ListWatcherTests.Server_ThatNeverAnswers_IsTriedAgain",
            "RandomEventsTests.AnyEvents_InAnyOrder_WithOneOperator_KeepEveryPromise",
            "FaultyServerTests.Operators_KilledAndStoppedBehindAFaultyServer_CountExactlyAndWriteOnlyWithTheLease",
            "WatchScenarios.S60_WatchesThatEndAgainAndAgain_LoseNothing"),
        new(61, "409, 429 with Retry-After, 500 and timeouts at every third request",
            "RobustnessScenarios.Requests_ThatFailAtEveryThirdTime_DoNotHurtAJob", "RandomEventsTests.AnyEvents_InAnyOrder_WithOneOperator_KeepEveryPromise",
            "FaultyServerTests.Operators_KilledAndStoppedBehindAFaultyServer_CountExactlyAndWriteOnlyWithTheLease",
            "OperatorScenarios.S61_EveryTenthRequestFails_JobComesToItsEnd"),
        new(62, "Watches five seconds behind: no pod looks lost",
            "RobustnessScenarios.Watches_FiveSecondsBehind_LoseNoPod", "RandomEventsTests.AnyEvents_InAnyOrder_WithOneOperator_KeepEveryPromise",
            "WatchScenarios.S62_WatchesFiveSecondsBehind_LoseNoPod"),
        new(63, "Two operators while the lease changes hands; one that was stopped for 30 s writes nothing without it",
            "LeaderElectorTests.Leader_PausedForLong_WritesNothingAfterwards", "LeaderElectorTests.TwoReplicas_ThatAreCutAtRandom_NeverLeadTogether",
            "RobustnessScenarios.Write_DecidedBeforeAPause_IsNotSentAfterwards", "RobustnessScenarios.NewLeader_WhoseWatchIsBehind_ListsFirst",
            "RandomEventsTests.AnyEvents_InAnyOrder_WithALease_KeepEveryPromise",
            "FaultyServerTests.Operators_KilledAndStoppedBehindAFaultyServer_CountExactlyAndWriteOnlyWithTheLease",
            "OperatorScenarios.S63_LeaderIsStopped_AnotherGoesOn_AndItWritesNothingWithoutTheLease"),
        new(64, "A malformed job among healthy ones",
            "ControllerTests.Job_OfWrongTypes_FailsAndHidesNoOther", "RandomEventsTests.AnyEvents_InAnyOrder_WithOneOperator_KeepEveryPromise",
            "CrowdScenarios.S64_MalformedJob_FailsAndHidesNoOther_AndIsTakenUpWhenItIsRepaired"),
        new(65, "A machine that does not answer, with pods that never end: the job goes on after the configured time",
            "RobustnessScenarios.Pods_StuckOnALostMachine_HoldAJobNoLongerThanConfigured",
            "ControllerTests.Machine_ThatDoesNotAnswer_IsLeftWithoutWaitingForItsPods",
            "ClusterLossScenarios.S65_MachineDoesNotAnswer_JobGoesOnAfterTheConfiguredTime"),
        new(66, "The namespace is deleted, or the operator uninstalled, in the middle of a run",
            "RobustnessScenarios.Namespace_DeletedInTheMiddle_EndsQuietly", "RobustnessScenarios.Operator_GoneForADay_FindsItsJobsAsTheyAre",
            "OperatorScenarios.S66_OperatorIsUninstalledInTheMiddle_TheNextOneFindsItsJobsAsTheyAre",
            "ClusterLossScenarios.S66_NamespaceIsDeletedInTheMiddle_JobSaysWhyItCannotGoOn_AndEndsQuietly"),
        new(67, "The clock jumps, in either direction",
            "RobustnessScenarios.Clock_SetBackByTwoHours_DelaysNoRestart", "RobustnessScenarios.Clock_AnHourAhead_LosesNoPod",
            "WorkQueueTests.Delays_BeforeAndAfterTheClockIsSet_ShortestCounts", "RandomEventsTests.AnyEvents_InAnyOrder_WithOneOperator_KeepEveryPromise")
        {
            NotOnAServer = "the clock of a machine cannot be set for one program alone",
        },
        new(68, "A thousand jobs at once, of which every tenth fails",
            "RobustnessScenarios.ThousandJobs_OfWhichEveryTenthFails_AllEndRight", "CrowdScenarios.S68_ManyJobsAtOnce_OfWhichEveryTenthFails_AllEndRight"),
    ];
}
