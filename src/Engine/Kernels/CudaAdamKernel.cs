using System.Collections.Concurrent;
using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Kernels;

/// <summary>Adam on a GPU in one pass: gradients of any type in, fp32 values and moments updated, 16-bit copy out.</summary>
/// <remarks>
/// libtorch's fused kernel wants gradients in the masters' type and writes no copy, so 16-bit training with it reads and
/// writes 46 bytes per parameter; this moves 28. The overflow flag and the step count are read on the device, so nothing
/// is waited for.
/// </remarks>
internal static class CudaAdamKernel
{
    private const uint Threads = 256;
    private const int PerThread = 4;

    private static readonly ConcurrentDictionary<int, (CudaModule? Module, string? Reason)> Modules = new();
    private static readonly ConcurrentDictionary<(int Device, ScalarType Gradients, ScalarType Copy), nint> Functions = new();

    /// <summary>The numbers of an update.</summary>
    public readonly record struct Numbers(
        double LearningRate, double Beta1, double Beta2, double Epsilon, double WeightDecay, bool IsDecoupled, bool CorrectsBias);

    /// <summary>Why the kernel cannot be used on a device; null when it can.</summary>
    public static string? ReasonAgainst(Device device) => device.type != TorchSharp.DeviceType.CUDA
        ? "the tensors are not on a GPU" : ModuleOf(Math.Max(0, device.index)).Reason;

    /// <summary>Updates a range.</summary>
    /// <param name="values">[n] fp32, contiguous.</param>
    /// <param name="gradients">[n] fp32, bf16 or fp16, contiguous; not changed.</param>
    /// <param name="firstMoment">[n] fp32.</param>
    /// <param name="secondMoment">[n] fp32.</param>
    /// <param name="copy">[n] bf16 or fp16, receives the rounded values; null for none.</param>
    /// <param name="step">Scalar fp32: number of this update, from 1.</param>
    /// <param name="divisor">Scalar fp32 that gradients are divided by; null is 1.</param>
    /// <param name="foundInf">Scalar fp32: not zero leaves everything as it is; null is zero.</param>
    /// <param name="numbers">The rest.</param>
    public static void Run(Tensor values, Tensor gradients, Tensor firstMoment, Tensor secondMoment, Tensor? copy, Tensor step,
        Tensor? divisor, Tensor? foundInf, in Numbers numbers)
    {
        long n = values.numel();
        if (n == 0)
        {
            return;
        }

        int device = values.device_index;
        ScalarType copyType = copy?.dtype ?? ScalarType.Float32; // fp32 stands for none
        nint function = Functions.GetOrAdd((device, gradients.dtype, copyType), static key =>
            ModuleOf(key.Device).Module!.Function($"adam_{Name(key.Gradients)}_{(key.Copy == ScalarType.Float32 ? "none" : Name(key.Copy))}"));
        long threads = (n + PerThread - 1) / PerThread;
        CudaModule.Launch(function, device, checked((uint)((threads + Threads - 1) / Threads)), Threads,
        [
            Address(values), Address(gradients), Address(firstMoment), Address(secondMoment), Address(copy), Address(step),
            Address(divisor), Address(foundInf), (ulong)n, Word(numbers.LearningRate), Word(numbers.Beta1), Word(numbers.Beta2),
            Word(numbers.Epsilon), Word(numbers.WeightDecay), numbers.IsDecoupled ? 1UL : 0, numbers.CorrectsBias ? 1UL : 0,
        ]);
    }

    private static (CudaModule? Module, string? Reason) ModuleOf(int device) =>
        Modules.GetOrAdd(device, static index => CudaModule.Compile(Source, index));

    private static ulong Address(Tensor? tensor) => tensor is null ? 0 : (ulong)TensorMemory.Address(tensor);

    private static ulong Word(double value) => BitConverter.SingleToUInt32Bits((float)value);

    private static string Name(ScalarType type) => type switch
    {
        ScalarType.BFloat16 => "bf16",
        ScalarType.Float16 => "fp16",
        ScalarType.Float32 => "fp32",
        _ => throw new ArgumentException($"Adam's kernel takes fp32, bf16 and fp16, not {type}", nameof(type)),
    };

    // 0 is bf16, 1 is fp16, 2 is fp32 (of gradients) or nothing (of the copy).
    private const string Source = """
        typedef unsigned short u16;
        template <int KIND> struct Half16;
        template <> struct Half16<0> {
            static __device__ __forceinline__ float read(u16 v) { return __uint_as_float((unsigned)v << 16); }
            static __device__ __forceinline__ u16 write(float v) { u16 r; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }
        };
        template <> struct Half16<1> {
            static __device__ __forceinline__ float read(u16 v) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v)); return r; }
            static __device__ __forceinline__ u16 write(float v) { u16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }
        };
        struct Numbers { float rate, b1, b2, eps, decay, c1, c2; int decoupled; };
        __device__ __forceinline__ void update(float& p, float g, float& m, float& v, const Numbers& k)
        {
            if (k.decoupled) { p -= k.rate * k.decay * p; } else { g += k.decay * p; }
            m = k.b1 * m + (1.f - k.b1) * g;
            v = k.b2 * v + (1.f - k.b2) * g * g;
            p -= k.rate / k.c1 * m / (sqrtf(v) / k.c2 + k.eps);
        }
        template <int GRAD, int COPY>
        __device__ __forceinline__ void adam(float* p, const void* g, float* m, float* v, u16* copy, const float* step,
            const float* divisor, const float* found_inf, long long n, float rate, float b1, float b2, float eps, float decay,
            int decoupled, int corrects)
        {
            if (found_inf && *found_inf != 0.f) { return; }
            float t = *step, by = divisor ? *divisor : 1.f;
            Numbers k = { rate, b1, b2, eps, decay, corrects ? 1.f - powf(b1, t) : 1.f, corrects ? sqrtf(1.f - powf(b2, t)) : 1.f, decoupled };
            long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * 4;
            if (i >= n) { return; }
            bool wide = i + 4 <= n && (((unsigned long long)(p + i) | (unsigned long long)(m + i) | (unsigned long long)(v + i)) & 15) == 0
                && ((unsigned long long)((const char*)g + i * (GRAD == 2 ? 4 : 2)) & (GRAD == 2 ? 15 : 7)) == 0
                && (COPY == 2 || ((unsigned long long)(copy + i) & 7) == 0);
            if (wide) {
                float4 pp = *(float4*)(p + i), mm = *(float4*)(m + i), vv = *(float4*)(v + i), gg;
                if (GRAD == 2) { gg = *(const float4*)((const float*)g + i); }
                else {
                    uint2 raw = *(const uint2*)((const u16*)g + i);
                    const u16* h = (const u16*)&raw;
                    gg.x = Half16<GRAD & 1>::read(h[0]); gg.y = Half16<GRAD & 1>::read(h[1]);
                    gg.z = Half16<GRAD & 1>::read(h[2]); gg.w = Half16<GRAD & 1>::read(h[3]);
                }
                update(pp.x, gg.x / by, mm.x, vv.x, k); update(pp.y, gg.y / by, mm.y, vv.y, k);
                update(pp.z, gg.z / by, mm.z, vv.z, k); update(pp.w, gg.w / by, mm.w, vv.w, k);
                *(float4*)(p + i) = pp; *(float4*)(m + i) = mm; *(float4*)(v + i) = vv;
                if (COPY != 2) {
                    uint2 raw;
                    u16* h = (u16*)&raw;
                    h[0] = Half16<COPY & 1>::write(pp.x); h[1] = Half16<COPY & 1>::write(pp.y);
                    h[2] = Half16<COPY & 1>::write(pp.z); h[3] = Half16<COPY & 1>::write(pp.w);
                    *(uint2*)(copy + i) = raw;
                }
                return;
            }
            for (long long j = i; j < n && j < i + 4; j++) {
                float gg = GRAD == 2 ? ((const float*)g)[j] : Half16<GRAD & 1>::read(((const u16*)g)[j]);
                float pp = p[j], mm = m[j], vv = v[j];
                update(pp, gg / by, mm, vv, k);
                p[j] = pp; m[j] = mm; v[j] = vv;
                if (COPY != 2) { copy[j] = Half16<COPY & 1>::write(pp); }
            }
        }
        #define KERNEL(NAME, GRAD, COPY)                                                                                  \
        extern "C" __global__ void __launch_bounds__(256) adam_##NAME(float* p, const void* g, float* m, float* v, u16* copy, \
            const float* step, const float* divisor, const float* found_inf, long long n, float rate, float b1, float b2,    \
            float eps, float decay, int decoupled, int corrects)                                                          \
        { adam<GRAD, COPY>(p, g, m, v, copy, step, divisor, found_inf, n, rate, b1, b2, eps, decay, decoupled, corrects); }
        KERNEL(bf16_bf16, 0, 0) KERNEL(bf16_fp16, 0, 1) KERNEL(bf16_none, 0, 2)
        KERNEL(fp16_bf16, 1, 0) KERNEL(fp16_fp16, 1, 1) KERNEL(fp16_none, 1, 2)
        KERNEL(fp32_bf16, 2, 0) KERNEL(fp32_fp16, 2, 1) KERNEL(fp32_none, 2, 2)
        """;
}
