using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Which parameters are trained with which numbers, before they have a place in the flat buffers.</summary>
internal sealed record GroupSpec(string Name, OptimizerParams Params, IReadOnlyList<string> ParameterNames);
