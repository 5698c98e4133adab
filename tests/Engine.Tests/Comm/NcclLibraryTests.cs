using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Nccl;
using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Comm;

/// <summary>What can be known of NCCL without a GPU: where it is looked for, and what is said when it is not there.</summary>
public sealed class NcclLibraryTests
{
    [Fact]
    public void Places_Environment_AreThoseOfPythonAndOfTheSearchPath()
    {
        string prefix = Directory.CreateTempSubdirectory("nccl-tests-").FullName;
        Directory.CreateDirectory(Path.Combine(prefix, "lib", "python3.12"));
        var environment = new Dictionary<string, string> { ["LD_LIBRARY_PATH"] = "/p/torch/lib:/q", ["VIRTUAL_ENV"] = prefix };
        try
        {
            Assert.Equal(
            [
                "libnccl.so.2", "/p/torch/lib/libnccl.so.2", "/p/nvidia/nccl/lib/libnccl.so.2", "/q/libnccl.so.2", "/nvidia/nccl/lib/libnccl.so.2",
                "/opt/a/b/libnccl.so.2", "/opt/nvidia/nccl/lib/libnccl.so.2", $"{prefix}/lib/python3.12/site-packages/nvidia/nccl/lib/libnccl.so.2",
            ], NcclLibrary.Places(environment.GetValueOrDefault, "/opt/a/b"));
        }
        finally
        {
            Directory.Delete(prefix, recursive: true);
        }
    }

    [Fact]
    public void Load_NamedLibraryIsMissing_SaysWhichAndWhy()
    {
        NativeBackendException error = Assert.Throws<NativeBackendException>(() =>
            NcclLibrary.Load(name => name == NcclLibrary.Variable ? "/nowhere/libnccl.so.2" : null));

        Assert.StartsWith("NCCL cannot be loaded from /nowhere/libnccl.so.2, which DEEPSPEED_NCCL_LIBRARY names: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_NamedLibraryIsAnother_SaysSo()
    {
        NativeBackendException error = Assert.Throws<NativeBackendException>(() =>
            NcclLibrary.Load(name => name == NcclLibrary.Variable ? "libc.so.6" : null));

        Assert.StartsWith("libc.so.6 is no NCCL of version 2.14 or later: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_NoLibrary_SaysWhereItLookedAndWhatToDo()
    {
        Assert.SkipWhen(cuda.is_available() || File.Exists("/usr/lib/x86_64-linux-gnu/libnccl.so.2"), "this machine has NCCL");

        NativeBackendException error = Assert.Throws<NativeBackendException>(() => NcclLibrary.Load(_ => null));

        Assert.StartsWith("NCCL was not found; looked for libnccl.so.2, ", error.Message, StringComparison.Ordinal);
        Assert.Contains("or name the file in DEEPSPEED_NCCL_LIBRARY", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AreEven_Pieces_AreOnlyEqualOnesBehindEachOther()
    {
        using Tensor one = zeros(12);
        using Tensor other = zeros(12);

        Assert.True(AreEven(new Piece(one, 2, 3), new Piece(one, 5, 3)));
        Assert.False(AreEven(new Piece(one, 2, 3), new Piece(one, 5, 4)));
        Assert.False(AreEven(new Piece(one, 2, 3), new Piece(one, 6, 3)));
        Assert.False(AreEven(new Piece(one, 2, 3), new Piece(other, 5, 3)));

        static bool AreEven(params Piece[] pieces) => NcclCalls.AreEven([.. pieces.Select(NcclCalls.Place.Of)]);
    }

    [Theory]
    [InlineData(ReduceOp.Bor, ScalarType.Int32, "NCCL has no Bor; use a tensor on the CPU")]
    [InlineData(ReduceOp.Sum, ScalarType.Int16, "NCCL cannot reduce Int16; use a tensor on the CPU, or another type")]
    public void Check_WhatNcclCannotDo_IsRefusedByName(ReduceOp op, ScalarType type, string expected)
    {
        using Tensor tensor = zeros(2, type);
        var call = new Collective(CollectiveKind.AllReduce, "x") { Inputs = [Piece.Of(tensor)], Op = op };

        Assert.Contains(expected, Assert.Throws<ArgumentException>(() => NcclCalls.Check(call)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Send_WithATag_IsRefused()
    {
        using Tensor tensor = zeros(2);

        Assert.Contains("NCCL has no tags", Assert.Throws<ArgumentException>(() => NcclCalls.Send(Piece.Of(tensor), 1, 3, "x")).Message, StringComparison.Ordinal);
    }

    // NCCL takes the structure by its size and version.
    [Fact]
    public unsafe void Config_Layout_IsThatOfVersion217()
    {
        NcclConfig config = NcclConfig.NonBlocking;

        Assert.Equal((40, 0xcafebeefu, 0), ((int)config.Size, config.Magic, config.Blocking));
        Assert.Equal((16, 32), ((int)((byte*)&config.Blocking - (byte*)&config), (int)((byte*)&config.NetName - (byte*)&config)));
        Assert.Equal(NcclId.Size, sizeof(NcclId));
    }
}
