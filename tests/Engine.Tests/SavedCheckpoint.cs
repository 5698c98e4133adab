using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Looks into a checkpoint's folder, whoever wrote it.</summary>
internal static class SavedCheckpoint
{
    /// <summary>The fp32 tensors by their full names, such as "weight" and "exp_avg.weight", in the order of names.</summary>
    public static Dictionary<string, float[]> Values(string folder)
    {
        CheckpointManifest manifest = CheckpointManifest.Read(folder);
        using var tensors = new CheckpointTensors(folder, manifest);
        return manifest.Tensors.Where(t => t.Type == "F32").OrderBy(t => t.FullName, StringComparer.Ordinal).ToDictionary(t => t.FullName, t =>
        {
            var values = new float[t.Elements];
            tensors.Read(t, 0, MemoryMarshal.AsBytes(values.AsSpan()));
            return values;
        });
    }

    /// <summary>The parameters and buffers alone.</summary>
    public static Dictionary<string, float[]> Model(string folder)
    {
        var names = CheckpointManifest.Read(folder).Model.Select(t => t.FullName).ToHashSet();
        return Values(folder).Where(pair => names.Contains(pair.Key)).ToDictionary();
    }

    /// <summary>Changes one bit of a file.</summary>
    public static void Flip(string path, long position)
    {
        using FileStream file = File.Open(path, FileMode.Open, FileAccess.ReadWrite);
        file.Position = position;
        int value = file.ReadByte();
        file.Position = position;
        file.WriteByte((byte)(value ^ 1));
    }

    /// <summary>Cuts a file.</summary>
    public static void Cut(string path, long length)
    {
        using FileStream file = File.OpenWrite(path);
        file.SetLength(length);
    }

    /// <summary>Copies a folder of checkpoints.</summary>
    public static void Copy(string from, string to)
    {
        foreach (string path in Directory.GetFiles(from, "*", SearchOption.AllDirectories))
        {
            string target = Path.Combine(to, Path.GetRelativePath(from, path));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(path, target);
        }
    }
}
