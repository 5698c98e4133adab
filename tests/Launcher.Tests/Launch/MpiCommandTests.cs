using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests.Launch;

public sealed class MpiCommandTests
{
    private static readonly KeyValuePair<string, string>[] OneExport = [new("A", "x,y")];

    // NODE_RANK and the visible devices are those of MPI's own daemons, whatever order they start ranks in.
    [Fact]
    public void Plan_RanksOfMpi_HaveTheVariablesThatTheyReallyGet()
    {
        World world = Some.World(("one", 2), ("two", 2)) with { Backend = Backend.OpenMpi };

        RankPlan last = RankPlan.All(world, Some.Options("./x"))[3];

        Assert.Equal(MpiRank.Names.Order(), last.Environment.Select(v => v.Key).Order());
        Assert.Equal("3", last.Environment.Single(v => v.Key == "RANK").Value);
    }

    [Theory]
    [InlineData("openmpi", "mpirun -n 4 -hostfile hosts --mca btl ^openib --mca btl_tcp_if_include eth0 -x UCX_TLS=tcp -x A=x,y "
        + "-x MASTER_ADDR=10.0.0.11 -x MASTER_PORT=29500 deepspeed exec-mpi-rank python3 -u train.py --a")]
    [InlineData("mpich", "mpirun -n 4 -ppn 2 -hosts one,two -genv A x,y -genv MASTER_ADDR 10.0.0.11 -genv MASTER_PORT 29500 "
        + "deepspeed exec-mpi-rank python3 -u train.py --a")]
    [InlineData("impi", "mpirun -n 4 -ppn 2 -hosts one,two -genv A x,y -genv MASTER_ADDR 10.0.0.11 -genv MASTER_PORT 29500 "
        + "deepspeed exec-mpi-rank python3 -u train.py --a")]
    [InlineData("mvapich", "mpirun -np 4 -ppn 2 --hostfile list -genv MV2_SUPPORT_DL 1 -genv MV2_ENABLE_AFFINITY 0 -genv MV2_USE_CUDA 1 "
        + "-genv MV2_DEBUG_SHOW_BACKTRACE 1 -genv A x,y -genv MASTER_ADDR 10.0.0.11 -genv MASTER_PORT 29500 "
        + "deepspeed exec-mpi-rank python3 -u train.py --a")]
    [InlineData("slurm", "srun -n 4 --nodes=2 --ntasks-per-node=2 --nodelist=one,two --kill-on-bad-exit=1 --export=ALL,MASTER_ADDR=10.0.0.11,MASTER_PORT=29500 "
        + "deepspeed exec-mpi-rank python3 -u train.py --a")]
    public void Build_TwoHosts_IsTheBackendsCommandLine(string name, string expected)
    {
        LaunchOptions options = Some.Options("-H", "hosts", "--launcher", name, "train.py", "--a");

        IReadOnlyList<string> line = Build(Some.World(("one", 2), ("two", 2)), options);

        Assert.Equal(expected, string.Join(' ', line));
    }

    [Fact]
    public void Build_LauncherArguments_AreWordsAndReplaceTheInterface()
    {
        LaunchOptions options = Some.Options("--launcher", "openmpi", "--launcher_args", "--mca btl_tcp_if_include ib0 --tag 'a b'", "./x");

        IReadOnlyList<string> line = Build(Some.World(("one", 2), ("two", 1)), options);

        Assert.DoesNotContain("eth0", line);
        Assert.Contains("a b", line);
        Assert.Equal("3", line[2]);
    }

    [Theory]
    [InlineData("openmpi takes hosts and slots from the hostfile alone", "--launcher", "openmpi", "--num_nodes", "1")]
    [InlineData("mpich takes hosts and slots from the hostfile alone", "--launcher", "mpich", "-i", "one")]
    [InlineData("slurm needs the same number of slots on every host", "--launcher", "slurm")]
    [InlineData("--ssh_port: it works with pdsh and ssh, not with openmpi", "--launcher", "openmpi", "--ssh_port", "22")]
    [InlineData("--bind_cores_to_rank: it works with pdsh and ssh", "--launcher", "openmpi", "--bind_cores_to_rank")]
    [InlineData("has no end", "--launcher", "openmpi", "--launcher_args", "'open")]
    public void Build_WhatTheBackendCannotDo_IsRefused(string expected, params string[] words)
    {
        ConfigException error = Assert.Throws<ConfigException>(
            () => Build(Some.World(("one", 2), ("two", 1)), Some.Options([.. words, "./x"])));

        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_LOCAL_RANK OMPI_COMM_WORLD_LOCAL_SIZE")]
    [InlineData("MV2_COMM_WORLD_RANK MV2_COMM_WORLD_SIZE MV2_COMM_WORLD_LOCAL_RANK MV2_COMM_WORLD_LOCAL_SIZE")]
    [InlineData("PMI_RANK PMI_SIZE MPI_LOCALRANKID MPI_LOCALNRANKS")]
    [InlineData("SLURM_PROCID SLURM_STEP_NUM_TASKS SLURM_LOCALID SLURM_NTASKS_PER_NODE")]
    public void Variables_OfEveryImplementation_BecomeTheWorkers(string names)
    {
        string[] values = ["3", "4", "1", "2"];
        var environment = names.Split(' ').Zip(values).ToDictionary(v => v.First, v => v.Second);

        Dictionary<string, string> variables = MpiRank.Variables(environment.GetValueOrDefault).ToDictionary();

        Assert.Equal(("3", "4", "1", "2"), (variables["RANK"], variables["WORLD_SIZE"], variables["LOCAL_RANK"], variables["LOCAL_SIZE"]));
        WorkerEnvironment worker = WorkerEnvironment.Read(name => variables.GetValueOrDefault(name) ?? name switch
        {
            "MASTER_ADDR" => "h",
            "MASTER_PORT" => "1",
            _ => null,
        });
        Assert.Equal((3, 1, 2), (worker.Rank, worker.LocalRank, worker.LocalWorldSize));
    }

    [Fact]
    public async Task ExecMpiRank_BecomesTheProgramWithItsPlace()
    {
        using var ranks = new RankFolder("echo \"rank $RANK of $WORLD_SIZE: $1\"; exit 4");
        using LauncherProcess launcher = LauncherProcess.Start(ranks.Path,
            [("PMI_RANK", "1"), ("PMI_SIZE", "2"), ("MPI_LOCALRANKID", "1"), ("MPI_LOCALNRANKS", "2")], MpiRank.Mode, "./rank.sh", "--x");

        Assert.Equal(4, await launcher.ExitAsync());
        Assert.Equal("rank 1 of 2: --x\n", launcher.Text);
    }

    [Fact]
    public async Task Launch_Slurm_StartsEveryRank()
    {
        using var ranks = new RankFolder("echo \"rank $RANK local $LOCAL_RANK of $WORLD_SIZE at $MASTER_ADDR: $A $1\"");
        ranks.Write(".deepspeed_env", "A=x,y\n");
        ranks.Executable("bin/srun", """
            #!/bin/sh
            while :; do case $1 in -n) SLURM_NTASKS=$2; shift 2;; --ntasks-per-node=*) SLURM_NTASKS_PER_NODE=${1#*=}; shift;;
              --export=*) for v in $(echo "${1#*ALL,}" | tr , ' '); do export "$v"; done; shift;; -*) shift;; *) break;; esac; done
            export SLURM_NTASKS SLURM_NTASKS_PER_NODE SLURM_STEP_NUM_TASKS=$SLURM_NTASKS; rank=0
            while [ $rank -lt $SLURM_NTASKS ]; do
              SLURM_PROCID=$rank SLURM_LOCALID=$((rank % SLURM_NTASKS_PER_NODE)) "$@" & rank=$((rank + 1))
            done
            wait
            """);

        (int exitCode, string text) = await ranks.RunAsync("--hostfile", "hosts", "--launcher", "slurm", "./rank.sh", "last");

        Assert.Equal(0, exitCode);
        Assert.Contains("rank 3 local 1 of 4 at 127.0.0.1: x,y last", text, StringComparison.Ordinal);
    }

    private static IReadOnlyList<string> Build(World world, LaunchOptions options) =>
        MpiCommands.Build(options.Backend!.Value, world, options, OneExport, ["deepspeed"], "list");
}
