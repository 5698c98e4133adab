using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>The estimate of memory in a job's status: the one of <c>deepspeed config check --parameters</c>.</summary>
internal static class JobMemory
{
    /// <summary>Estimates what a rank needs; null when the model's size or a batch number is not known.</summary>
    /// <param name="config">The DeepSpeed config.</param>
    /// <param name="spec">The job, with the number of nodes of the attempt.</param>
    public static MemoryStatus? Of(string config, DeepSpeedJobSpec spec)
    {
        if (spec.Model is not { Parameters: { } text } model || ParameterCount.Parse(text) is not { } parameters
            || ConfigReport.ForJob(config, spec.WorldSize()) is not { Config: { } read } report)
        {
            return null;
        }

        // Without the micro batch, which the program fills in, activations are not known either.
        long tokens = (model.SequenceLength ?? 0L) * (report.Batch?.MicroBatchSize ?? 0);
        var estimate = MemoryEstimate.For(read, parameters, spec.WorldSize(), tokens, model.ActivationCheckpointing == true);
        return new MemoryStatus
        {
            Text = $"{Size(estimate.DeviceBytes)} on each GPU: {Size(estimate.ModelStateBytes)} model states"
                + (estimate.BufferBytes == 0 ? "" : $", {Size(estimate.BufferBytes)} buffers")
                + (tokens == 0 ? ", activations not counted" : $", {Size(estimate.ActivationBytes)} activations")
                + (estimate.HostBytes == 0 ? "" : $"; {Size(estimate.HostBytes)} offloaded to the machine for each rank")
                + (estimate.NvmeBytes == 0 ? "" : $"; {Size(estimate.NvmeBytes)} offloaded to a disk for each rank"),
            DeviceBytes = estimate.DeviceBytes,
            ModelStateBytes = estimate.ModelStateBytes,
            BufferBytes = estimate.BufferBytes,
            ActivationBytes = tokens == 0 ? null : estimate.ActivationBytes,
            HostBytes = estimate.HostBytes == 0 ? null : estimate.HostBytes,
            NvmeBytes = estimate.NvmeBytes == 0 ? null : estimate.NvmeBytes,
        };
    }

    private static string Size(long bytes) => MemoryEstimate.Text(bytes);
}
