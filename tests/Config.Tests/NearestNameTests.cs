namespace DeepSpeedSharp.Config.Tests;

public sealed class NearestNameTests
{
    private static readonly string[] Known = ["train_batch_size", "train_micro_batch_size_per_gpu", "optimizer", "scheduler"];

    [Theory]
    [InlineData("optimiser", "optimizer")]
    [InlineData("Optimizer", "optimizer")]
    [InlineData("shceduler", "scheduler")]
    [InlineData("train_batchsize", "train_batch_size")]
    [InlineData("wandb", null)]
    [InlineData("", null)]
    public void Find_Name_GivesTheNearestWithinReach(string name, string? expected)
    {
        Assert.Equal(expected, NearestName.Find(name, Known));
    }
}
