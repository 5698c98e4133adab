namespace DeepSpeedSharp.Engine;

/// <summary>Kinds of state that <see cref="DeepSpeedEngine.OffloadStates"/> moves; DeepSpeed's <c>OffloadStateTypeEnum</c>.</summary>
public enum OffloadStateType
{
    /// <summary>The optimizer's state, such as moments (<c>optim_states</c>).</summary>
    OptimStates,

    /// <summary>The fp32 masters of 16-bit training (<c>hp_params</c>).</summary>
    HpParams,

    /// <summary>The weights that the model computes with (<c>lp_params</c>).</summary>
    LpParams,

    /// <summary>The gradients (<c>lp_grads</c>).</summary>
    LpGrads,

    /// <summary>Buffers of gradients that are being reduced (<c>contiguous_grad_buffer</c>): they exist during backward only, so there is
    /// nothing to move.</summary>
    ContiguousGradBuffer,
}
