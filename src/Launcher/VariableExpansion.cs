using System.Text;

namespace DeepSpeedSharp.Launcher;

/// <summary>Replaces <c>$(NAME)</c> in commands and arguments exactly as Kubernetes does in a container.</summary>
/// <remarks><c>$$</c> is a dollar sign, so <c>$$(NAME)</c> stays text; an unknown name stays as written.</remarks>
internal static class VariableExpansion
{
    /// <summary>Expands a text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="variables">Known names and values.</param>
    /// <returns>The text with known references replaced.</returns>
    public static string Expand(string text, IReadOnlyDictionary<string, string> variables)
    {
        var result = new StringBuilder(text.Length);
        int position = 0;
        while (position < text.Length)
        {
            int dollar = text.IndexOf('$', position);
            if (dollar < 0 || dollar == text.Length - 1)
            {
                break;
            }

            result.Append(text, position, dollar - position);
            int close = text[dollar + 1] == '(' ? text.IndexOf(')', dollar + 2) : -1;
            if (close >= 0)
            {
                string name = text[(dollar + 2)..close];
                result.Append(variables.GetValueOrDefault(name, $"$({name})"));
                position = close + 1;
            }
            else
            {
                // An escaped dollar sign, or one that begins no reference.
                result.Append(text[dollar + 1] == '$' ? "$" : text.Substring(dollar, 2));
                position = dollar + 2;
            }
        }

        return result.Append(text, position, text.Length - position).ToString();
    }
}
