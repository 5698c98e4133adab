namespace DeepSpeedSharp.Operator.Tests;

/// <summary>Files of the repository, wherever the tests run.</summary>
internal static class RepositoryFiles
{
    /// <summary>The folder with Operator.sln.</summary>
    public static string Root { get; } = Find();

    public static string Path(params string[] parts) => System.IO.Path.Combine([Root, .. parts]);

    private static string Find()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(System.IO.Path.Combine(folder, "Operator.sln")))
        {
            folder = System.IO.Path.GetDirectoryName(folder);
        }

        return folder ?? throw new InvalidOperationException("Operator.sln is in no folder above the tests");
    }
}
