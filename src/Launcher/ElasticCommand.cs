using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed elastic</c>: the batch size that elasticity chooses, and the numbers of GPUs it fits.</summary>
internal static class ElasticCommand
{
    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true };

    public static Command Create()
    {
        var config = new Option<string>("--config", "-c")
        {
            Description = "A DeepSpeed JSON config with an elasticity section.",
            HelpName = "FILE",
            Required = true,
        };
        var worldSize = new Option<int>("--world-size", "-w")
        {
            Description = "Also choose the micro batch size for this number of ranks.",
            HelpName = "N",
            CustomParser = ConfigCheckCommand.ReadWorldSize,
        };
        var json = new Option<bool>("--json") { Description = "Print the numbers as JSON." };
        var command = new Command("elastic")
        {
            config, worldSize, json,
        };
        command.SetAction(parsed => Show(parsed.GetValue(config)!, parsed.GetValue(worldSize), parsed.GetValue(json)));
        return command;
    }

    private static int Show(string file, int worldSize, bool json)
    {
        ElasticityConfig config = Elasticity.SectionOf(file);
        ElasticBatch batch = worldSize == 0 ? ElasticBatch.Find(config) : ElasticBatch.For(config, worldSize);
        if (json)
        {
            Console.Out.WriteLine(new JsonObject
            {
                ["final_batch_size"] = batch.TrainBatchSize,
                ["valid_gpus"] = new JsonArray([.. batch.DataParallelSizes.Select(n => JsonValue.Create(n))]),
                ["micro_batch"] = batch.MicroBatchSize,
            }.ToJsonString(Readable));
            return ExitCodes.Done;
        }

        string sizes = string.Join(", ", batch.DataParallelSizes);
        string? accumulation = batch.MicroBatchSize is not { } micro ? null
            : $"{micro} with accumulation {batch.TrainBatchSize / (micro * (worldSize / config.ModelParallelSize))} on {worldSize} ranks";
        foreach (string line in AlignedRows.Format(
        [
            ("train batch size", $"{batch.TrainBatchSize}"),
            (config.ModelParallelSize > 1 ? "model copies" : "numbers of GPUs", sizes),
            ("micro batch size", accumulation),
        ]))
        {
            Console.Out.WriteLine(line);
        }

        return ExitCodes.Done;
    }
}
