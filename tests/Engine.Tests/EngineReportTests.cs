using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Precision;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class EngineReportTests
{
    private static readonly EngineReport Gpu = new()
    {
        Device = "cuda:0",
        DeviceName = "NVIDIA H100 80GB HBM3",
        DriverVersion = "570.86.15",
        CudaVersion = "12.8",
        NcclVersion = "2.27.3",
        LibTorchVersion = "2.10",
        Precision = "bf16 with fp32 master weights",
    };

    [Fact]
    public void ToString_Gpu_NamesAll()
    {
        Assert.Equal("cuda:0 NVIDIA H100 80GB HBM3 (driver 570.86.15, CUDA 12.8), libtorch 2.10, NCCL 2.27.3, "
            + "bf16 with fp32 master weights", Gpu.ToString());
    }

    [Fact]
    public void ToString_WhatIsAbsent_IsLeftOut()
    {
        EngineReport bare = Gpu with { DeviceName = null, DriverVersion = null, CudaVersion = null, NcclVersion = null };

        Assert.Equal("cuda:0, libtorch 2.10, bf16 with fp32 master weights", bare.ToString());
        Assert.Equal("cuda:0 (driver 1), libtorch 2.10, bf16 with fp32 master weights",
            (bare with { DriverVersion = "1" }).ToString());
    }

    [Fact]
    public void For_Cpu_TellsThreadsAndLibTorch()
    {
        EngineReport report = EngineReport.For(TorchSharp.torch.CPU, "fp32");

        Assert.Equal(("cpu", TorchSharp.torch.get_num_threads()), (report.Device, report.Threads));
        Assert.StartsWith("2.", report.LibTorchVersion, StringComparison.Ordinal);
        Assert.Null(report.DriverVersion);
        Assert.StartsWith("cpu (", report.ToString(), StringComparison.Ordinal);
        Assert.EndsWith(", fp32", report.ToString(), StringComparison.Ordinal);
    }

    // Numbers of nccl.h's NCCL_VERSION_CODE, whose form changed with 2.9.
    [Theory]
    [InlineData(2804, "2.8.4")]
    [InlineData(20900, "2.9.0")]
    [InlineData(22703, "2.27.3")]
    public void NcclText_Number_IsTheVersion(int number, string expected)
    {
        Assert.Equal(expected, NvidiaDriver.NcclText(number));
    }

    [Fact]
    public void FailureExit_ExceptionsOfTheEngine_HaveTheirCodes()
    {
        Assert.Equal(ExitCodes.Configuration, FailureExit.CodeOf(new ConfigException("x", [new ConfigError("a", "b", "c")])));
        Assert.Equal(ExitCodes.Configuration, FailureExit.CodeOf(new NativeBackendException("x")));
        Assert.Equal(ExitCodes.Configuration, FailureExit.CodeOf(new LossScaleException(1, 10)));
        Assert.Equal(ExitCodes.Temporary, FailureExit.CodeOf(new CheckpointException("x") { IsPassing = true }));
        Assert.Equal(ExitCodes.BadData, FailureExit.CodeOf(new CheckpointException("x")));
        Assert.Equal(ExitCodes.PeerLost, FailureExit.CodeOf(new AggregateException(new PeerLostException(1, "x"))));
        Assert.Null(FailureExit.CodeOf(new InvalidOperationException()));
    }
}
