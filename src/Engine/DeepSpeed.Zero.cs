using DeepSpeedSharp.Engine.Checkpoint;
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

        /// <summary>Gives a parameter the values of a tensor in a file. Of a partitioned parameter this rank reads its part only, so that
        /// together the ranks read the file once. Call it before <see cref="Initialize{TBatch}"/>, and on every rank.</summary>
        /// <param name="parameter">The parameter.</param>
        /// <param name="file">The file.</param>
        /// <param name="name">Name of the tensor in it, in the parameter's shape and of any type.</param>
        /// <exception cref="ArgumentException">The shapes differ, or the parameter is an engine's already.</exception>
        /// <exception cref="CheckpointException">The file cannot be read.</exception>
        public static void Load(TorchSharp.Modules.Parameter parameter, SafetensorsReader file, string name)
        {
            ArgumentNullException.ThrowIfNull(parameter);
            ArgumentNullException.ThrowIfNull(file);
            if (!file.ShapeOf(name).SequenceEqual(parameter.shape))
            {
                throw new ArgumentException($"{name} is [{string.Join(", ", file.ShapeOf(name))}], the parameter is [{string.Join(", ", parameter.shape)}]",
                    nameof(name));
            }

            using IDisposable noGrad = no_grad();
            if (PartitionedParameter.Of(parameter) is not { } partitioned)
            {
                using Tensor whole = file.Read(name);
                parameter.copy_(whole);
                return;
            }

            if (partitioned.IsTraining)
            {
                throw new ArgumentException($"{partitioned.Name} is trained by an engine: load it before Initialize, or change it inside GatheredParameters",
                    nameof(parameter));
            }

            ElementRange own = partitioned.Cut.RangeOf(partitioned.Group!.Rank);
            if (own.Length > 0)
            {
                using Tensor part = file.Read(name, own.Start, own.Length);
                partitioned.Shards.Write(partitioned.Part with { Length = own.Length }, part);
            }
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
