using System.Text.Json;

namespace DeepSpeedSharp.Config.Tests;

/// <summary>Ranks that MPI, Slurm, AzureML or SageMaker has placed; the platforms by <c>vectors/env_discovery.json</c>.</summary>
public sealed class EnvironmentDiscoveryTests
{
    private static readonly JsonElement[] Platforms = [.. JsonDocument.Parse(File.ReadAllText(
        Path.Combine(AppContext.BaseDirectory, "vectors", "env_discovery.json"))).RootElement.GetProperty("platform_patches").EnumerateArray()];

    public static TheoryData<int> Cases() => [.. Enumerable.Range(0, Platforms.Length)];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Variables_Platform_AreDeepSpeeds(int index)
    {
        JsonElement vector = Platforms[index];
        Dictionary<string, string> environment = vector.GetProperty("env").EnumerateObject().ToDictionary(v => v.Name, v => v.Value.GetString()!);
        environment.Add(vector.GetProperty("platform").GetString() == "azureml" ? "AZUREML_EXPERIMENT_ID" : "SM_TRAINING_ENV", "x");
        JsonElement result = vector.GetProperty("result");

        if (result.TryGetProperty("error_kind", out _))
        {
            ConfigException error = Assert.Throws<ConfigException>(() => EnvironmentDiscovery.Variables(environment.GetValueOrDefault));
            Assert.Contains(result.GetProperty("variable").GetString()!, error.Message, StringComparison.Ordinal);
            return;
        }

        IReadOnlyDictionary<string, string> found = EnvironmentDiscovery.Variables(environment.GetValueOrDefault);

        Assert.All(result.EnumerateObject(), expected =>
            Assert.Equal(expected.Value.GetString(), found.GetValueOrDefault(expected.Name) ?? environment.GetValueOrDefault(expected.Name)));
    }

    [Theory]
    [InlineData("OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=3 OMPI_COMM_WORLD_LOCAL_RANK=2 OMPI_COMM_WORLD_LOCAL_SIZE=3")]
    [InlineData("MV2_COMM_WORLD_RANK=2 MV2_COMM_WORLD_SIZE=3 MV2_COMM_WORLD_LOCAL_RANK=2 MV2_COMM_WORLD_LOCAL_SIZE=3")]
    [InlineData("MVP_COMM_WORLD_RANK=2 MVP_COMM_WORLD_SIZE=3 MVP_COMM_WORLD_LOCAL_RANK=2 MVP_COMM_WORLD_LOCAL_SIZE=3")]
    [InlineData("PMI_RANK=2 PMI_SIZE=3 MPI_LOCALRANKID=2 MPI_LOCALNRANKS=3")]
    [InlineData("PMI_RANK=2 PMI_SIZE=3 PALS_LOCAL_RANKID=2 PALS_LOCAL_SIZE=3")]
    [InlineData("SLURM_PROCID=2 SLURM_STEP_NUM_TASKS=3 SLURM_LOCALID=2 SLURM_NODEID=0 SLURM_STEP_TASKS_PER_NODE=3")]
    [InlineData("PMI_RANK=2 PMI_SIZE=3 SLURM_PROCID=2 SLURM_STEP_NUM_TASKS=3 SLURM_LOCALID=2 SLURM_NODEID=0 SLURM_STEP_TASKS_PER_NODE=3")]
    public void Read_OneHost_IsPlacedWithoutFurtherVariables(string variables)
    {
        WorkerEnvironment place = Read(variables);

        Assert.Equal((2, 3, 2, 3, 1), (place.Rank, place.WorldSize, place.LocalRank, place.LocalWorldSize, place.Nodes));
        Assert.Equal(("127.0.0.1", 29500), (place.MasterAddress, place.MasterPort));
    }

    [Fact]
    public void Read_SlurmOnSeveralHosts_FindsTheFirst()
    {
        WorkerEnvironment place = Read("SLURM_PROCID=5 SLURM_STEP_NUM_TASKS=7 SLURM_LOCALID=1 SLURM_NODEID=1 SLURM_NNODES=3 "
            + "SLURM_STEP_TASKS_PER_NODE=4,2,1 SLURM_STEP_NODELIST=gpu[08-10] SLURM_JOB_NODELIST=gpu[07-10] SLURM_JOB_ID=17 SLURM_STEP_ID=2");

        Assert.Equal(("gpu08", 5, 7, 1, 2), (place.MasterAddress, place.Rank, place.WorldSize, place.LocalRank, place.LocalWorldSize));
        Assert.Equal((1, 3, "17.2"), (place.NodeRank, place.Nodes, place.RunId));
    }

    [Fact]
    public void Read_OpenMpiOnSeveralHosts_FindsTheHostOfMpirun()
    {
        const string Ranks = "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2 ";

        Assert.Equal("10.0.0.5", Read(Ranks + "OMPI_MCA_orte_hnp_uri=1234.0;tcp://10.0.0.5,192.168.0.5:40001").MasterAddress);
        Assert.Equal(("h", 7), (Read(Ranks + "MASTER_ADDR=h MASTER_PORT=7").MasterAddress, Read(Ranks + "MASTER_ADDR=h MASTER_PORT=7").MasterPort));
        ConfigException error = Assert.Throws<ConfigException>(() => Read(Ranks));
        Assert.Contains("MASTER_ADDR: it is not set, Open MPI placed the ranks on several hosts", error.Message, StringComparison.Ordinal);
    }

    // A batch script and a shell of an allocation have SLURM_PROCID, and are no ranks.
    [Theory]
    [InlineData("SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NODELIST=gpu[07-10]")]
    [InlineData("HOSTNAME=x")]
    public void Read_NoRank_IsASingleProcess(string variables)
    {
        Assert.Equal(new WorkerEnvironment(), Read(variables));
    }

    [Fact]
    public void Read_DiscoveryOff_LooksAtItsOwnVariablesOnly()
    {
        Dictionary<string, string> environment = Parse("PMI_RANK=2 PMI_SIZE=3 MPI_LOCALRANKID=2 MPI_LOCALNRANKS=3");

        Assert.Equal(1, WorkerEnvironment.Read(environment.GetValueOrDefault, discover: false).WorldSize);
    }

    [Theory]
    [InlineData("PMIX_RANK=1", "PMIX_RANK: it says a rank, but nothing says how many")]
    [InlineData("PMI_RANK=1 PMI_SIZE=2", "PMI_RANK: it says a rank, but nothing says how many")]
    [InlineData("PMI_RANK=2 PMI_SIZE=3 MPI_LOCALRANKID=2 MPI_LOCALNRANKS=3 WORLD_SIZE=8", "WORLD_SIZE: it is 8, but by PMI (MPICH, Intel MPI) it would be 3")]
    [InlineData("SM_TRAINING_ENV=x OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=0 OMPI_COMM_WORLD_LOCAL_SIZE=2",
        "MASTER_ADDR: it is not set, and on SageMaker")]
    public void Read_WhatIsMissingOrContradictory_IsNamed(string variables, string expected)
    {
        Assert.Contains(expected, Assert.Throws<ConfigException>(() => Read(variables)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_PmixWithTheRestByHand_IsPlaced()
    {
        WorkerEnvironment place = Read("PMIX_RANK=1 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=h PMIX_NAMESPACE=job-5");

        Assert.Equal((1, 2, 0, "h", "job-5"), (place.Rank, place.WorldSize, place.LocalRank, place.MasterAddress, place.RunId));
    }

    // A launcher's variables stand above those of whatever has started the launcher.
    [Fact]
    public void Read_AllSet_NeedsNoDiscovery()
    {
        WorkerEnvironment place = Read("RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=h MASTER_PORT=7 OMPI_COMM_WORLD_RANK=0 "
            + "OMPI_COMM_WORLD_SIZE=9 OMPI_COMM_WORLD_LOCAL_RANK=0 OMPI_COMM_WORLD_LOCAL_SIZE=9 PMIX_NAMESPACE=job-5");

        Assert.Equal((1, 2, ""), (place.Rank, place.WorldSize, place.RunId));
    }

    [Theory]
    [InlineData("gpu1", "gpu1")]
    [InlineData("gpu1,gpu2", "gpu1")]
    [InlineData("gpu[007-010,12],x", "gpu007")]
    [InlineData("rack[3]-node[05-06].example.com", "rack3-node05.example.com")]
    [InlineData("gpu[1", null)]
    [InlineData("", null)]
    public void FirstHost_List_IsExpanded(string list, string? expected)
    {
        Assert.Equal(expected, SlurmLists.FirstHost(list));
    }

    [Theory]
    [InlineData("4(x2),3", "4 4 3")]
    [InlineData("1", "1")]
    [InlineData("4(x", null)]
    [InlineData("a", null)]
    public void Tasks_List_IsExpanded(string list, string? expected)
    {
        Assert.Equal(expected, SlurmLists.Tasks(list) is { } tasks ? string.Join(' ', tasks) : null);
    }

    private static WorkerEnvironment Read(string variables) => WorkerEnvironment.Read(Parse(variables).GetValueOrDefault);

    private static Dictionary<string, string> Parse(string variables) =>
        variables.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(v => v.Split('=', 2)).ToDictionary(v => v[0], v => v[1]);
}
