using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Adam and AdamW for buffers in main memory: one pass over them, by all cores, that also widens 16-bit
/// gradients, divides them, and writes the rounded copy of the values.</summary>
/// <remarks>
/// The rule is that of <see cref="PlainAdam"/>. The idea is that of Ren et al., "ZeRO-Offload", 2021, section 5.1: on a
/// processor the update costs what moving its memory costs, so nothing is moved twice.
/// </remarks>
internal sealed unsafe class CpuAdam : FlatOptimizer
{
    private const long Block = 1 << 15; // elements: short enough to share evenly, long enough to stream
    private const int CopySize = sizeof(ushort);

    private readonly BlockLoop _loop;
    private long _applied; // updates, which alone correct the bias; Steps also counts one that an overflow stopped

    // The group that is being updated.
    private delegate*<float*, byte*, float*, float*, byte*, long, in AdamNumbers, void> _kernel;
    private float* _p;
    private byte* _g;
    private float* _m;
    private float* _v;
    private byte* _copy;
    private long _length;
    private int _gradientSize;
    private AdamNumbers _numbers;

    /// <param name="name">Adam or AdamW, as in the config.</param>
    /// <param name="groups">Groups with <see cref="AdamParams"/>.</param>
    /// <param name="elements">Length of the flat buffers.</param>
    /// <param name="threads">How many threads work; null means as many as libtorch's.</param>
    public CpuAdam(string name, IReadOnlyList<ParameterGroup> groups, long elements, int? threads = null)
        : base(groups, elements, CPU)
    {
        Name = name;
        AddState("exp_avg");
        AddState("exp_avg_sq");
        // libtorch looks at OMP_NUM_THREADS and the cores it may use, .NET also at the container's limit.
        _loop = new BlockLoop(RunBlock, threads ?? Math.Min(get_num_threads(), Environment.ProcessorCount));
    }

    public override string Name { get; }

    internal override bool NeedsOverflowKnown => false;

    internal override void RestoreSteps(long steps)
    {
        base.RestoreSteps(steps);
        _applied = steps;
    }

    private protected override void BeginStep(in StepScale scale)
    {
        if (!IsOverflow(scale))
        {
            _applied++;
        }
    }

    private protected override void UpdateElements(ElementRange part, Tensor values, Tensor gradients, IReadOnlyList<Tensor> states,
        in StepScale scale, Tensor? lowPrecision)
    {
        if (IsOverflow(scale))
        {
            return;
        }

        Check(part.Length, values, gradients, states, lowPrecision);
        _kernel = KernelFor(gradients.dtype, lowPrecision?.dtype);
        _gradientSize = (int)gradients.element_size();
        double divisor = scale.Divisor is { } tensor ? Scalar(tensor) : 1;
        foreach ((ParameterGroup group, ElementRange range) in GroupsIn(part))
        {
            _p = (float*)TensorMemory.Address(values) + range.Start;
            _g = (byte*)TensorMemory.Address(gradients) + range.Start * _gradientSize;
            _m = (float*)TensorMemory.Address(states[0]) + range.Start;
            _v = (float*)TensorMemory.Address(states[1]) + range.Start;
            _copy = lowPrecision is null ? null : (byte*)TensorMemory.Address(lowPrecision) + range.Start * CopySize;
            (_length, _numbers) = (range.Length, NumbersOf(group, divisor));
            _loop.Run((range.Length + Block - 1) / Block);
        }
    }

    private protected override void Update(ParameterGroup group, Tensor values, Tensor gradients, Tensor[] states, long offset,
        in StepScale scale) =>
        throw new NotSupportedException("the CPU's Adam updates all groups itself");

    private static bool IsOverflow(in StepScale scale) => scale.FoundInf is { } overflow && Scalar(overflow) != 0;

    private static float Scalar(Tensor tensor) => *(float*)TensorMemory.Address(tensor);

    private AdamNumbers NumbersOf(ParameterGroup group, double divisor)
    {
        var config = (AdamParams)group.Params;
        (double b1, double b2) = (group.Beta1!.Value, group.Beta2!.Value);
        double correction1 = config.BiasCorrection ? 1 - Math.Pow(b1, _applied) : 1;
        double correction2 = config.BiasCorrection ? 1 - Math.Pow(b2, _applied) : 1;
        double rate = group.LearningRate;
        return new AdamNumbers(
            Keep: config.AdamWMode ? (float)(1 - rate * group.WeightDecay) : 1,
            L2: config.AdamWMode ? 0 : (float)group.WeightDecay,
            Beta1: (float)b1, Rest1: (float)(1 - b1), Beta2: (float)b2, Rest2: (float)(1 - b2),
            Multiplier: (float)(1 / divisor), Rate: (float)(rate / correction1),
            RootScale: (float)(1 / Math.Sqrt(correction2)), Epsilon: (float)config.Epsilon);
    }

    private void RunBlock(long block)
    {
        long start = block * Block;
        _kernel(_p + start, _g + start * _gradientSize, _m + start, _v + start, _copy == null ? null : _copy + start * CopySize,
            Math.Min(Block, _length - start), _numbers);
    }

    private static delegate*<float*, byte*, float*, float*, byte*, long, in AdamNumbers, void> KernelFor(
        ScalarType gradients, ScalarType? copy) => (gradients, copy) switch
        {
            (ScalarType.Float32, null) => &AdamKernel.Update<Fp32, NoCopy>,
            (ScalarType.Float32, ScalarType.BFloat16) => &AdamKernel.Update<Fp32, Bf16>,
            (ScalarType.Float32, ScalarType.Float16) => &AdamKernel.Update<Fp32, Fp16>,
            (ScalarType.BFloat16, null) => &AdamKernel.Update<Bf16, NoCopy>,
            (ScalarType.BFloat16, ScalarType.BFloat16) => &AdamKernel.Update<Bf16, Bf16>,
            (ScalarType.BFloat16, ScalarType.Float16) => &AdamKernel.Update<Bf16, Fp16>,
            (ScalarType.Float16, null) => &AdamKernel.Update<Fp16, NoCopy>,
            (ScalarType.Float16, ScalarType.BFloat16) => &AdamKernel.Update<Fp16, Bf16>,
            (ScalarType.Float16, ScalarType.Float16) => &AdamKernel.Update<Fp16, Fp16>,
            _ => throw new ArgumentException($"gradients of {gradients} with a copy of {copy} are not supported; "
                + "gradients may be fp32, bf16 or fp16, the copy bf16 or fp16", nameof(gradients)),
        };

    // The kernel trusts its pointers.
    private static void Check(long elements, Tensor values, Tensor gradients, IReadOnlyList<Tensor> states, Tensor? copy)
    {
        foreach ((string what, Tensor? tensor) in (ReadOnlySpan<(string, Tensor?)>)[("values", values), ("gradients", gradients),
            ("first moments", states[0]), ("second moments", states[1]), ("copy", copy)])
        {
            if (tensor is not null && (tensor.numel() != elements || tensor.device_type != DeviceType.CPU || !tensor.is_contiguous()))
            {
                throw new ArgumentException($"the {what} have {tensor.numel()} elements on {tensor.device_type}, but the update "
                    + $"is of {elements} in contiguous main memory", nameof(values));
            }
        }

        if (values.dtype != ScalarType.Float32)
        {
            throw new ArgumentException($"the values are {values.dtype}, but the optimizer updates fp32", nameof(values));
        }
    }
}
