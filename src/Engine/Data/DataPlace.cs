namespace DeepSpeedSharp.Engine.Data;

/// <summary>A place in the data that means the same for any number of ranks and any micro batch size.</summary>
/// <param name="Epoch">Passes over the data that are complete.</param>
/// <param name="Samples">Samples of the current pass that all ranks together have read, in the order of that pass.</param>
public readonly record struct DataPlace(long Epoch, long Samples);
