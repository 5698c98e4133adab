namespace DeepSpeedSharp.Engine.Optim;

/// <summary>How the gradients of a step are to be read; both tensors are where the gradients are.</summary>
/// <param name="Divisor">Scalar fp32 that every gradient is to be divided by; null means 1.</param>
/// <param name="FoundInf">Scalar fp32; when not zero, the step leaves values and state untouched. Null means zero.</param>
internal readonly record struct StepScale(Tensor? Divisor, Tensor? FoundInf);
