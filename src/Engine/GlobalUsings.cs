global using DeepSpeedSharp.Checkpoints;
global using Tensor = TorchSharp.torch.Tensor;
