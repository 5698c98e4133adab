using System.Runtime.CompilerServices;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Operator.Tests.Runtime;

public sealed class MemoryTrimTests
{
    [Fact]
    public void Once_AfterMuchGarbage_LeavesNothingOfIt()
    {
        var trim = new MemoryTrim(TimeProvider.System);
        WeakReference garbage = Allocate(megabytes: 16);

        Assert.True(trim.Once());
        Assert.False(garbage.IsAlive);
    }

    [Theory]
    [InlineData(20, 3_000)]
    [InlineData(60, 3_000)]
    [InlineData(400, 20_000)]
    public void Next_OfALargeHeap_ComesLater(int takenMilliseconds, int waitMilliseconds) =>
        Assert.Equal(waitMilliseconds, MemoryTrim.Next(TimeSpan.FromMilliseconds(takenMilliseconds)).TotalMilliseconds);

    // In a frame of its own, so that no register keeps it.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static WeakReference Allocate(int megabytes) => new(new byte[megabytes << 20]);
}
