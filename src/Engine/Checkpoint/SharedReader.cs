using System.Text.Json;
using DeepSpeedSharp.Engine.Comm;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Reads tensors of a safetensors file on rank 0 and gives them to all ranks, one at a time.</summary>
/// <remarks>Every rank makes the same calls. When rank 0 cannot read, it goes on sending zeros and <see cref="End"/> throws
/// on all ranks: none is left waiting.</remarks>
internal sealed class SharedReader : IDisposable
{
    private readonly ProcessGroup _group;
    private readonly string _path;
    private readonly SafetensorsReader? _file;
    private string? _error;

    public SharedReader(string path, ProcessGroup group)
    {
        (_path, _group) = (path, group);
        try
        {
            _file = group.Rank == 0 ? new SafetensorsReader(path) : null;
        }
        catch (CheckpointException e)
        {
            _error = e.Message;
        }
    }

    /// <summary>Reads a tensor.</summary>
    /// <param name="name">Its name in the file.</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="type">The type to give it in.</param>
    /// <returns>A CPU tensor; the caller disposes it.</returns>
    public Tensor Read(string name, IReadOnlyList<long> shape, ScalarType type)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor value = zeros([.. shape], type);
        if (_file is not null && _error is null)
        {
            try
            {
                using Tensor read = _file.Read(name);
                value.copy_(read);
            }
            catch (CheckpointException e)
            {
                _error = e.Message;
            }
        }

        _group.Broadcast(value, 0, $"{name} of a checkpoint");
        return value.MoveToOuterDisposeScope();
    }

    /// <summary>Call after the last tensor.</summary>
    /// <param name="folder">The checkpoint, for the message.</param>
    /// <exception cref="CheckpointException">Rank 0 could not read; what was given is not the file's content.</exception>
    public void End(string folder)
    {
        string? error = JsonSerializer.Deserialize<string?>(_group.AllGather(JsonSerializer.Serialize(_error), $"reading checkpoint {folder}")[0]);
        if (error is not null)
        {
            throw new CheckpointException($"checkpoint {folder} was read in part only: {Path.GetFileName(_path)}: {error}; "
                + "the model is not usable, load again")
            {
                IsPassing = true,
            };
        }
    }

    public void Dispose() => _file?.Dispose();
}
