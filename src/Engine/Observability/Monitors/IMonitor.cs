namespace DeepSpeedSharp.Engine.Observability;

/// <summary>Somewhere metrics are kept: CSV files or TensorBoard's event files.</summary>
internal interface IMonitor : IDisposable
{
    /// <summary>Where, for messages.</summary>
    string Place { get; }

    /// <summary>Keeps some values of one step; they are in the file when this returns.</summary>
    /// <param name="events">Metric names, such as <c>Train/Samples/lr</c>, and values.</param>
    /// <param name="samples">Samples trained so far: the horizontal axis.</param>
    /// <exception cref="IOException">They cannot be written.</exception>
    void Write(IReadOnlyList<(string Metric, double Value)> events, long samples);
}
