using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The numbers of a learning-rate schedule; each schedule has a record of its own.</summary>
/// <remarks>A list has one value per parameter group; a list of one value holds for all groups.</remarks>
[JsonDerivedType(typeof(WarmupParams))]
[JsonDerivedType(typeof(WarmupDecayParams))]
[JsonDerivedType(typeof(WarmupCosineParams))]
[JsonDerivedType(typeof(OneCycleParams))]
[JsonDerivedType(typeof(LRRangeTestParams))]
public abstract record ScheduleParams;
