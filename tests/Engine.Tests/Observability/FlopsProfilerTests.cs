using DeepSpeedSharp.Engine.Observability;
using Microsoft.Extensions.Time.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class FlopsProfilerTests
{
    private static ModuleProfile Profile(nn.Module model, Action forward)
    {
        using var profiler = new FlopsProfiler(model, new FakeTimeProvider(), () => { });
        forward();
        return profiler.Root;
    }

    [Fact]
    public void Profile_BuiltInLayers_CountsEachByItsTypeAndShapes()
    {
        using DisposeScope scope = NewDisposeScope();
        var model = nn.Sequential(
            ("conv", nn.Conv2d(3, 16, 3, padding: 1)), ("norm", nn.BatchNorm2d(16)), ("act", nn.ReLU()),
            ("pool", nn.MaxPool2d(2)), ("flat", nn.Flatten()), ("fc", nn.Linear(16 * 16 * 16, 10)));

        ModuleProfile root = Profile(model, () => model.call(zeros(2, 3, 32, 32)));

        long pixels = 2 * 16 * 32 * 32;
        Dictionary<string, FlopCount> work = root.Children.ToDictionary(m => m.Name, m => m.Work);
        Assert.Equal(new FlopCount(1802240, 884736), work["conv"]);
        Assert.Equal(new FlopCount(5 * pixels, 0), work["norm"]);
        Assert.Equal(new FlopCount(pixels, 0), work["act"]);
        Assert.Equal(new FlopCount(pixels, 0), work["pool"]);
        Assert.Equal(FlopCount.Zero, work["flat"]);
        Assert.Equal(FlopCount.OfMacs(2 * 4096 * 10), work["fc"]);
        Assert.Equal(work.Values.Aggregate((a, b) => a + b), root.Work);
        Assert.Equal(model.parameters().Sum(p => p.numel()), root.Parameters);
        Assert.DoesNotContain(root.All(), m => m.IsUncounted);
    }

    [Fact]
    public void Profile_LayersWithSeveralInputs_AreHookedWhateverTheirArity()
    {
        using DisposeScope scope = NewDisposeScope();
        var lstm = nn.LSTM(8, 16);
        var attention = nn.MultiheadAttention(16, 4);
        var bilinear = nn.Bilinear(3, 4, 5);

        ModuleProfile recurrent = Profile(lstm, () => lstm.call(zeros(7, 2, 8), null));
        ModuleProfile attended = Profile(attention, () => attention.call(zeros(7, 2, 16), zeros(9, 2, 16), zeros(9, 2, 16), null!, false, null!));
        ModuleProfile product = Profile(bilinear, () => bilinear.call(zeros(6, 3), zeros(6, 4)));

        Assert.Equal(7 * 2 * (4 * 16 * 8 + 4 * 16 * 16), recurrent.Work.Macs);
        Assert.Equal(2 * 16 * 16 * (7 + 7 + 9 + 9) + 2 * 2 * 7 * 9 * 16, attended.Work.Macs);
        Assert.Equal(6 * 3 * 4 * 5, product.Work.Macs);
        Assert.Equal(1, attended.Calls);
    }

    [Fact]
    public void Dispose_AfterAPass_RemovesEveryHookAndLeavesResultsAlone()
    {
        using DisposeScope scope = NewDisposeScope();
        var model = nn.Sequential(nn.Linear(4, 4), nn.Tanh());
        Tensor x = rand(2, 4);
        float[] before = model.call(x).data<float>().ToArray();

        using var profiler = new FlopsProfiler(model, new FakeTimeProvider(), () => { });
        float[] during = model.call(x).data<float>().ToArray();
        profiler.Dispose();
        model.call(x);

        Assert.Equal(before, during);
        Assert.All(profiler.Root.All(), m => Assert.Equal(1, m.Calls));
    }

    [Fact]
    public void Profile_OwnModules_TakesTheirWordAndNamesThoseThatSayNothing()
    {
        using DisposeScope scope = NewDisposeScope();
        var model = new Outer();

        ModuleProfile root = Profile(model, () => model.call(zeros(2, 3), zeros(2, 3)));

        Assert.Equal("told", root.Children[0].Name);
        Assert.Equal(new FlopCount(6 + 4, 0), root.Children[0].Work); // two calls: 2 x 3, and 2 x 2
        Assert.Equal(2, root.Children[0].Calls);
        Assert.Equal([nameof(Silent)], root.All().Where(m => m.IsUncounted).Select(m => m.Type));
        Assert.Equal(5, root.Parameters); // the shared module once
    }

    [Fact]
    public void Profile_Latency_IsTheTimeBetweenTheHooks()
    {
        using DisposeScope scope = NewDisposeScope();
        var clock = new FakeTimeProvider();
        var slow = new Slow(clock);
        var model = nn.Sequential(("a", slow), ("b", new Slow(clock)));

        using var profiler = new FlopsProfiler(model, clock, () => { });
        model.call(zeros(1));

        Assert.Equal([20, 10, 10], profiler.Root.All().Select(m => (int)m.Latency.TotalMilliseconds));
    }

    [Fact]
    public void Profile_ManyPasses_KeepNoTensors()
    {
        using DisposeScope outer = NewDisposeScope();
        var model = nn.Sequential(nn.Linear(4, 4), nn.Tanh());
        Tensor x = rand(2, 4);

        using DisposeScope scope = NewDisposeScope();
        using var profiler = new FlopsProfiler(model, new FakeTimeProvider(), () => { });
        for (int pass = 0; pass < 20; pass++)
        {
            using Tensor y = model.call(x);
        }

        Assert.Equal(20, profiler.Root.Calls);
        // All that is alive in the scope is what Sequential leaves there without a profiler: nothing.
        Assert.Equal(0, scope.DisposablesCount);
    }

    private sealed class Slow : nn.Module<Tensor, Tensor>
    {
        private readonly FakeTimeProvider _clock;

        public Slow(FakeTimeProvider clock)
            : base(nameof(Slow)) => _clock = clock;

        public override Tensor forward(Tensor x)
        {
            _clock.Advance(TimeSpan.FromMilliseconds(10));
            return x + 1;
        }
    }

    private sealed class Outer : nn.Module<Tensor, Tensor, (Tensor, Tensor)>
    {
        private readonly Told told = new();
        private readonly Silent silent = new();
        private readonly Told again;

        public Outer()
            : base(nameof(Outer))
        {
            again = told;
            RegisterComponents();
        }

        public override (Tensor, Tensor) forward(Tensor x, Tensor y) =>
            (told.call([x, y]), again.call([silent.call(y).narrow(1, 0, 2), x.narrow(1, 0, 2)]));
    }

    private sealed class Told : nn.Module<Tensor[], Tensor>, ICountFlops
    {
        public Told()
            : base(nameof(Told))
        {
        }

        public override Tensor forward(Tensor[] pair) => pair[0] + pair[1];

        public FlopCount CountFlops(ModuleCall call)
        {
            Assert.Equal(2, call.Inputs.Count);
            Assert.Single(call.Outputs);
            return FlopCount.Elementwise(call.Outputs[0]);
        }
    }

    private sealed class Silent : nn.Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.Parameter weight = new(zeros(5));

        public Silent()
            : base(nameof(Silent)) => RegisterComponents();

        public override Tensor forward(Tensor x) => x * weight.sum();
    }
}
