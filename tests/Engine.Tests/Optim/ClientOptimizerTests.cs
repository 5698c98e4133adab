using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Precision;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Optim;

/// <summary>A TorchSharp optimizer under the engine.</summary>
public sealed class ClientOptimizerTests
{
    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void Step_OptimizerFromAFunction_UpdatesFp32ValuesAndTheirCopy(ScalarType model)
    {
        using var scope = NewDisposeScope();
        using var toy = new ToyModel();
        using FlatParameters parameters = Flat(toy, model);
        using var optimizer = ClientOptimizer.Of(p => optim.SGD(p, 0.5), parameters);
        Tensor expected = parameters.Masters.clone();
        Tensor gradients = linspace(-1, 1, parameters.Masters.numel()).to(model);
        foreach (ParameterSlot slot in parameters.Slots)
        {
            expected.narrow(0, slot.Offset, slot.Elements).sub_(gradients.narrow(0, slot.Offset, slot.Elements).to(float32) / 8);
        }

        parameters.Gradients.copy_(gradients);
        optimizer.Step(parameters.Masters, parameters.Gradients, new StepScale(tensor(4f), null), parameters.HasMasters ? parameters.Weights : null);

        Vectors.Close(expected.data<float>().ToArray(), parameters.Masters.data<float>().ToArray(), relative: 1e-6, absolute: 1e-6);
        Assert.Equal(parameters.Masters.to(model).to(float32).data<float>().ToArray(), parameters.Weights.to(float32).data<float>().ToArray());
        Assert.Equal((0.5, "SGD"), (optimizer.ParameterGroups[0].InitialLearningRate, optimizer.Name));
    }

    [Fact]
    public void Step_RateOfTheEnginesGroup_MovesAllOfTheOptimizersGroupsInProportion()
    {
        using var scope = NewDisposeScope();
        using var toy = new ToyModel();
        using FlatParameters parameters = Flat(toy, ScalarType.Float32);
        TorchSharp.Modules.Parameter[] all = [.. toy.parameters()];
        using var sgd = new TorchSharp.Modules.SGD(
            (IEnumerable<TorchSharp.Modules.SGD.ParamGroup>)[new(all[..2]), new(all[2..])], 0.1);
        (sgd.ParamGroups.First().LearningRate, sgd.ParamGroups.Last().LearningRate) = (0.1, 0.3);
        using var optimizer = ClientOptimizer.Of(sgd, parameters);

        optimizer.ParameterGroups[0].LearningRate = 0.05;
        optimizer.Step(parameters.Masters, parameters.Gradients, default, null);

        Assert.Equal([0.05, 0.15], sgd.ParamGroups.Select(g => Math.Round(g.LearningRate, 12)));
    }

    [Fact]
    public void Of_OptimizerOfAnotherModel_SaysSo()
    {
        using var scope = NewDisposeScope();
        using var toy = new ToyModel();
        using var other = new ToyModel();
        using FlatParameters parameters = Flat(toy, ScalarType.Float32);
        using var sgd = optim.SGD(other.parameters(), 0.1);

        var error = Assert.Throws<ArgumentException>(() => ClientOptimizer.Of(sgd, parameters));

        Assert.Contains("4 of the optimizer's parameters are not trainable parameters of the model", error.Message, StringComparison.Ordinal);
    }

    private static FlatParameters Flat(ToyModel model, ScalarType type) => new(model, CPU, new PrecisionPlan(type, type, type, null, false),
        all => [new GroupSpec("client", new ClientParams(), [.. all.Select(p => p.Name)])]);
}
