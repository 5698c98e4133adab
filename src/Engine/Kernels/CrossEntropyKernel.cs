using System.Collections.Concurrent;
using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Kernels;

/// <summary>Softmax cross entropy of 16-bit logits and its gradient in one kernel, the gradient in the logits' place.</summary>
/// <remarks>
/// A block takes a row: one pass finds its maximum and the sum of exponentials together (Milakov and Gimelshein,
/// "Online normalizer calculation for softmax", 2018, algorithm 3), a second one, whose reads mostly hit the L2 cache,
/// writes the gradient. The logits are read from memory once and written once; the framework's own operators move about
/// eight times as much.
/// </remarks>
internal static class CrossEntropyKernel
{
    private const uint Threads = 512;

    private static readonly ConcurrentDictionary<int, (CudaModule? Module, string? Reason)> Modules = new();
    private static readonly ConcurrentDictionary<(int Device, ScalarType Type), nint> Functions = new();

    /// <summary>Why the kernel cannot be used on a device; null when it can.</summary>
    public static string? ReasonAgainst(Device device) => device.type != TorchSharp.DeviceType.CUDA
        ? "the tensors are not on a GPU" : ModuleOf(Math.Max(0, device.index)).Reason;

    /// <summary>Replaces logits by the gradient of each row's loss, and gives the losses.</summary>
    /// <param name="logits">[rows, classes] bf16 or fp16, contiguous; receives softmax minus one-hot, zero in ignored rows.</param>
    /// <param name="targets">[rows] int64.</param>
    /// <param name="ignored">The target of rows that do not count.</param>
    /// <returns>[rows] fp32, zero in ignored rows, not a number where a target is out of range; the caller disposes it.</returns>
    public static Tensor Run(Tensor logits, Tensor targets, long ignored)
    {
        int device = logits.device_index;
        (long rows, long classes) = (logits.shape[0], logits.shape[1]);
        Tensor losses = empty(rows, float32, logits.device);
        nint function = Functions.GetOrAdd((device, logits.dtype), static key => ModuleOf(key.Device).Module!.Function(
            key.Type == ScalarType.BFloat16 ? "cross_entropy_bf16" : "cross_entropy_fp16"));
        if (rows > 0)
        {
            CudaModule.Launch(function, device, checked((uint)rows), Threads,
            [
                (ulong)TensorMemory.Address(logits), (ulong)TensorMemory.Address(targets), (ulong)TensorMemory.Address(losses),
                (ulong)classes, (ulong)ignored,
            ]);
        }

        return losses;
    }

    private static (CudaModule? Module, string? Reason) ModuleOf(int device) =>
        Modules.GetOrAdd(device, static index => CudaModule.Compile(Source, index));

    // Eight values travel in one 16-byte access; a row that does not start on such a boundary goes value by value.
    private const string Source = """
        #define INFINITY_ __int_as_float(0x7f800000)
        typedef unsigned short u16;
        __device__ __forceinline__ float read_bf16(u16 v) { return __uint_as_float((unsigned)v << 16); }
        __device__ __forceinline__ u16 write_bf16(float v) { u16 r; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }
        __device__ __forceinline__ float read_fp16(u16 v) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v)); return r; }
        __device__ __forceinline__ u16 write_fp16(float v) { u16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }

        struct Sums { float most, sum; };
        __device__ __forceinline__ Sums join(Sums a, Sums b)
        {
            float most = fmaxf(a.most, b.most);
            if (most == -INFINITY_) { return a; }
            return { most, a.sum * __expf(a.most - most) + b.sum * __expf(b.most - most) };
        }

        #define KERNEL(TYPE)                                                                                              \
        extern "C" __global__ void __launch_bounds__(512) cross_entropy_##TYPE(                                           \
            u16* logits, const long long* targets, float* losses, long long classes, long long ignored)                   \
        {                                                                                                                 \
            u16* row = logits + (long long)blockIdx.x * classes;                                                          \
            long long target = targets[blockIdx.x];                                                                       \
            bool aligned = ((unsigned long long)row & 15) == 0;                                                           \
            long long wide = aligned ? classes / 8 : 0;                                                                   \
            Sums mine = { -INFINITY_, 0.f };                                                                              \
            for (long long i = threadIdx.x; i < wide; i += blockDim.x) {                                                  \
                uint4 pack = ((const uint4*)row)[i];                                                                      \
                const u16* values = (const u16*)&pack;                                                                    \
                float x[8]; float most = -INFINITY_; float sum = 0.f;                                                     \
                _Pragma("unroll") for (int j = 0; j < 8; j++) { x[j] = read_##TYPE(values[j]); most = fmaxf(most, x[j]); } \
                if (most != -INFINITY_) {                                                                                 \
                    _Pragma("unroll") for (int j = 0; j < 8; j++) { sum += __expf(x[j] - most); }                         \
                }                                                                                                         \
                mine = join(mine, Sums{ most, sum });                                                                     \
            }                                                                                                             \
            for (long long i = wide * 8 + threadIdx.x; i < classes; i += blockDim.x) {                                    \
                float x = read_##TYPE(row[i]);                                                                            \
                mine = join(mine, Sums{ x, x == -INFINITY_ ? 0.f : 1.f });                                                \
            }                                                                                                             \
            for (int offset = 16; offset > 0; offset >>= 1) {                                                             \
                mine = join(mine, Sums{ __shfl_xor_sync(~0u, mine.most, offset), __shfl_xor_sync(~0u, mine.sum, offset) }); \
            }                                                                                                             \
            __shared__ Sums partial[32];                                                                                  \
            if ((threadIdx.x & 31) == 0) { partial[threadIdx.x / 32] = mine; }                                            \
            __syncthreads();                                                                                              \
            Sums all = partial[0];                                                                                        \
            for (int i = 1; i < blockDim.x / 32; i++) { all = join(all, partial[i]); }                                    \
            bool counts = target != ignored;                                                                              \
            bool in_range = target >= 0 && target < classes;                                                              \
            float at_target = counts && in_range ? read_##TYPE(row[target]) : 0.f;                                        \
            __syncthreads(); /* every thread has read the target's logit before anybody overwrites it */                  \
            if (threadIdx.x == 0) {                                                                                       \
                losses[blockIdx.x] = !counts ? 0.f : !in_range ? __int_as_float(0x7fffffff)                               \
                    : logf(all.sum) + all.most - at_target;                                                               \
            }                                                                                                             \
            float scale = counts ? 1.f / all.sum : 0.f;                                                                   \
            for (long long i = threadIdx.x; i < wide; i += blockDim.x) {                                                  \
                uint4 pack = ((const uint4*)row)[i];                                                                      \
                u16* values = (u16*)&pack;                                                                                \
                _Pragma("unroll") for (int j = 0; j < 8; j++) {                                                           \
                    float p = counts ? __expf(read_##TYPE(values[j]) - all.most) * scale : 0.f;                           \
                    values[j] = write_##TYPE(p - (counts && i * 8 + j == target ? 1.f : 0.f));                            \
                }                                                                                                         \
                ((uint4*)row)[i] = pack;                                                                                  \
            }                                                                                                             \
            for (long long i = wide * 8 + threadIdx.x; i < classes; i += blockDim.x) {                                    \
                float p = counts ? __expf(read_##TYPE(row[i]) - all.most) * scale : 0.f;                                  \
                row[i] = write_##TYPE(p - (counts && i == target ? 1.f : 0.f));                                           \
            }                                                                                                             \
        }
        KERNEL(bf16)
        KERNEL(fp16)
        """;
}
