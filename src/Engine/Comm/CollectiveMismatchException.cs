namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Ranks called different collectives at the same place of the order, or the same one with tensors that do not fit. A
/// mistake in the program; restarting does not help.</summary>
/// <remarks>Collectives are compared only in debug mode (DEEPSPEED_COMM_DEBUG), sends and receives always.</remarks>
/// <param name="message">What each rank called.</param>
public sealed class CollectiveMismatchException(string message) : Exception(message);
