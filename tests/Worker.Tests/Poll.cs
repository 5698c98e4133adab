namespace DeepSpeedSharp.Worker.Tests;

/// <summary>Waits for something that another process does.</summary>
internal static class Poll
{
    public static void Until(Func<bool> holds, string what, Func<string> state)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (!holds())
        {
            Assert.False(limit.IsCancellationRequested, $"waited two minutes for {what}:\n{state()}");
            limit.Token.WaitHandle.WaitOne(10);
        }
    }
}
