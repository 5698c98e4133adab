namespace DeepSpeedSharp.Config.Tests;

public sealed class WorkerEnvironmentTests
{
    private static readonly WorkerEnvironment Node = new()
    {
        Rank = null,
        LocalRank = null,
        WorldSize = 8,
        LocalWorldSize = 4,
        NodeRank = 1,
        Nodes = 2,
        MasterAddress = "job-1-0.job",
        MasterPort = 29501,
    };

    [Fact]
    public void Read_NothingSet_IsASingleProcess()
    {
        Assert.Equal(new WorkerEnvironment(), WorkerEnvironment.Read(_ => null));
    }

    [Fact]
    public void ToVariables_Rank_AreReadBackTheSame()
    {
        WorkerEnvironment rank = Node.ForSlot(2);

        Assert.Equal((6, 2), (rank.Rank!.Value, rank.LocalRank!.Value));
        Assert.Equal(rank, Read(rank.ToVariables().ToDictionary()));
    }

    [Fact]
    public void ToVariables_NodeWithSeveralSlots_HasNoRankAndIsReadBackTheSame()
    {
        var variables = Node.ToVariables().ToDictionary();

        Assert.DoesNotContain("RANK", variables.Keys);
        Assert.DoesNotContain("LOCAL_RANK", variables.Keys);
        Assert.Equal(Node, Read(variables));
    }

    [Fact]
    public void ToVariables_Rank_UseTheNamesOfDeepSpeedAndTorchrun()
    {
        Assert.Equal(
        [
            "MASTER_ADDR=job-1-0.job", "MASTER_PORT=29501", "WORLD_SIZE=8", "NNODES=2", "NODE_RANK=1", "GROUP_RANK=1",
            "LOCAL_WORLD_SIZE=4", "LOCAL_SIZE=4", "NPROC_PER_NODE=4", "CROSS_RANK=1", "CROSS_SIZE=2", "RANK=5", "LOCAL_RANK=1",
        ], Node.ForSlot(1).ToVariables().Select(v => $"{v.Key}={v.Value}"));
    }

    [Fact]
    public void Read_TorchrunsVariables_NeedNoNodeRank()
    {
        WorkerEnvironment environment = Read(new()
        {
            ["RANK"] = "3",
            ["LOCAL_RANK"] = "1",
            ["WORLD_SIZE"] = "4",
            ["MASTER_ADDR"] = "10.0.0.1",
            ["MASTER_PORT"] = "29500",
        });

        Assert.Equal((3, 1, 4), (environment.Rank!.Value, environment.LocalRank!.Value, environment.WorldSize));
    }

    [Fact]
    public void Read_JobAndAttempt_AreTheIdentityOfTheRun()
    {
        Dictionary<string, string> variables = Node.ForSlot(0).ToVariables().ToDictionary();
        (variables["DSJ_JOB_UID"], variables["DSJ_ATTEMPT"]) = ("uid", "3");

        Assert.Equal("uid/3", Read(variables).RunId);
    }

    [Theory]
    [InlineData("RANK")]
    [InlineData("WORLD_SIZE")]
    [InlineData("LOCAL_RANK")]
    [InlineData("MASTER_ADDR")]
    [InlineData("MASTER_PORT")]
    public void Read_OneMissing_NamesIt(string missing)
    {
        Dictionary<string, string> variables = new WorkerEnvironment { Rank = 0, WorldSize = 2 }.ToVariables().ToDictionary();
        variables.Remove(missing);

        ConfigException error = Assert.Throws<ConfigException>(() => Read(variables));

        Assert.Equal(missing, Assert.Single(error.Errors).Path);
    }

    [Theory]
    [InlineData("RANK", "2", "RANK: 2 is not below WORLD_SIZE, which is 2; ranks count from 0")]
    [InlineData("RANK", "-1", "RANK: \"-1\" is not a whole number of at least 0; correct it")]
    [InlineData("WORLD_SIZE", "two", "WORLD_SIZE: \"two\" is not a whole number of at least 1; correct it")]
    [InlineData("WORLD_SIZE", "0", "WORLD_SIZE: \"0\" is not a whole number of at least 1; correct it")]
    [InlineData("MASTER_PORT", "70000", "MASTER_PORT: 70000 is not a port; use a value from 1 to 65535")]
    public void Read_ValueWithoutSense_SaysWhatIsWrong(string name, string value, string expected)
    {
        Dictionary<string, string> variables = new WorkerEnvironment { Rank = 1, WorldSize = 2 }.ToVariables().ToDictionary();
        variables[name] = value;

        ConfigException error = Assert.Throws<ConfigException>(() => Read(variables));

        Assert.Equal(expected, Assert.Single(error.Errors).ToString());
    }

    private static WorkerEnvironment Read(Dictionary<string, string> variables) =>
        WorkerEnvironment.Read(name => variables.GetValueOrDefault(name));
}
