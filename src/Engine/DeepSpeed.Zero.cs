using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Zero;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <content>DeepSpeed's module <c>deepspeed.zero</c>.</content>
public static partial class DeepSpeed
{
    /// <summary>Parameters that are partitioned over ranks: ZeRO stage 3.</summary>
    /// <remarks>A partitioned parameter keeps its shape, and has its values only while its module runs or inside
    /// <see cref="GatheredParameters"/>; anywhere else it reads as NaN.</remarks>
    public static class Zero
    {
        /// <summary>From here on until the returned object is disposed, <see cref="Partition{TModule}"/> partitions what it is given, on this
        /// thread. Every rank must call this.</summary>
        /// <remarks>
        /// A model is built shard by shard when its constructor passes each part through <see cref="Partition{TModule}"/> as soon as it
        /// has its starting values: no process ever holds more than its shards and the part that is being built.
        /// <code>
        /// using (DeepSpeed.Zero.Init(group))
        /// {
        ///     model = new Model(); // layers = ModuleList(Partition(new Block()), Partition(new Block()), ...)
        /// }
        /// </code>
        /// </remarks>
        /// <param name="group">The ranks; the same as for <see cref="Initialize{TBatch}"/>.</param>
        /// <param name="fromRankZero">Every rank gets rank 0's values, as in DeepSpeed. False sends nothing: the caller makes sure that all
        /// ranks make the same values, for example from the same seed.</param>
        /// <returns>Dispose it when the model is built.</returns>
        /// <exception cref="InvalidOperationException">Called inside another one.</exception>
        public static IDisposable Init(ProcessGroup group, bool fromRankZero = true)
        {
            ArgumentNullException.ThrowIfNull(group);
            TorchRuntime.Load();
            return new PartitionedConstruction(group, fromRankZero);
        }

        /// <summary>Whether <see cref="Init"/> is in force on this thread.</summary>
        public static bool IsPartitioning => PartitionedConstruction.Current is not null;

        /// <summary>Inside <see cref="Init"/>, partitions a module's trainable parameters at once; elsewhere does nothing, so that a model's
        /// constructor may always call it.</summary>
        /// <typeparam name="TModule">Type of the module.</typeparam>
        /// <param name="module">A part of a model, with its starting values.</param>
        /// <returns>The same module.</returns>
        /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
        public static TModule Partition<TModule>(TModule module)
            where TModule : nn.Module
        {
            PartitionedConstruction.Current?.Partition(module);
            return module;
        }

        /// <summary>Makes parameters whole until the returned object is disposed. Every rank must call this, with the same parameters.</summary>
        /// <remarks>Takes memory for all of them. Parameters that are not partitioned are left as they are, so the call is right in every
        /// stage. Change values in place and under <c>no_grad()</c>.</remarks>
        /// <param name="parameters">Parameters of a model, for example <c>module.parameters()</c>.</param>
        /// <param name="modifierRank">The rank whose changes are kept: on disposal every rank gets its values. Null keeps no changes.</param>
        /// <returns>Dispose it when they are no longer needed.</returns>
        /// <exception cref="InvalidOperationException">One of them is in another one that was not disposed.</exception>
        /// <exception cref="ArgumentOutOfRangeException">There is no such rank.</exception>
        /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
        public static IDisposable GatheredParameters(IEnumerable<TorchSharp.Modules.Parameter> parameters, int? modifierRank = null)
        {
            ArgumentNullException.ThrowIfNull(parameters);
            return new GatheredScope(parameters, modifierRank);
        }

        /// <summary>Says that a module uses a parameter that belongs to another one, so that it is gathered for both. Call it before
        /// <see cref="Initialize{TBatch}"/>, for example in the module's constructor.</summary>
        /// <param name="module">The module whose <c>forward</c> uses the parameter.</param>
        /// <param name="parameter">The parameter.</param>
        public static void RegisterExternalParameter(nn.Module module, TorchSharp.Modules.Parameter parameter)
        {
            ArgumentNullException.ThrowIfNull(module);
            ArgumentNullException.ThrowIfNull(parameter);
            ExternalParameters.Add(module, parameter);
        }
    }
}
