using System.Text.Json;
using DeepSpeedSharp.Worker.Gpt2;

namespace DeepSpeedSharp.Worker;

/// <summary>What a Hugging Face folder has beside the weights, kept beside the checkpoints: <c>deepspeed checkpoint
/// consolidate</c> takes it from there.</summary>
internal static class ModelFiles
{
    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true };

    /// <summary>Writes the model's config, and copies the tokenizer's files where the model came with some.</summary>
    /// <param name="directory">Folder of checkpoints; created when missing.</param>
    /// <param name="shape">Shape of the model.</param>
    /// <param name="source">What the user called the model.</param>
    public static void Write(string directory, Gpt2Config shape, string source)
    {
        Directory.CreateDirectory(directory);
        DurableFiles.Replace(Path.Combine(directory, HuggingFaceFolder.ConfigFile), JsonSerializer.SerializeToUtf8Bytes(shape.ToJson(), Readable));
        string? folder = Directory.Exists(source) ? source : File.Exists(source) ? Path.GetDirectoryName(Path.GetFullPath(source)) : null;
        foreach (string name in folder is null ? [] : HuggingFaceExport.TokenizerFiles.Where(name => File.Exists(Path.Combine(folder, name))))
        {
            DurableFiles.Replace(Path.Combine(directory, name), File.ReadAllBytes(Path.Combine(folder!, name)));
        }
    }
}
