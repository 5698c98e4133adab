using System.CommandLine;
using DeepSpeedSharp.Operator.Api.Schema;

namespace DeepSpeedSharp.Operator.Commands;

/// <summary><c>deepspeed-operator generate crd</c>: writes the CRD from the C# types.</summary>
internal static class GenerateCommand
{
    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        var output = new Option<string?>("--output")
        {
            Description = "File to write, for example deploy/crds/deepspeedjobs.yaml; standard output when left out.",
        };
        var crd = new Command("crd", "Writes the CustomResourceDefinition of DeepSpeedJob.") { output };
        crd.SetAction(result =>
        {
            string text = JobDefinition.Yaml();
            if (result.GetValue(output) is not { } file)
            {
                Console.Out.Write(text);
                return 0;
            }

            if (Path.GetDirectoryName(Path.GetFullPath(file)) is { } folder)
            {
                Directory.CreateDirectory(folder);
            }

            File.WriteAllText(file, text);
            return 0;
        });
        return new Command("generate", "Writes files that are made from the code.") { crd };
    }
}
