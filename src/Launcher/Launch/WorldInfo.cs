using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Hosts and slots as one word that needs no quotes in a shell: URL-safe base64 of a JSON object.</summary>
internal static class WorldInfo
{
    /// <summary>Encodes hosts, byte for byte as DeepSpeed does.</summary>
    public static string Encode(IReadOnlyList<HostSlots> hosts)
    {
        // Python's way of writing JSON: a blank after each comma and colon.
        IEnumerable<string> members = hosts.Select(host =>
            $"{JsonSerializer.Serialize(host.Host)}: [{string.Join(", ", host.Slots.Select(Slot))}]");
        byte[] json = Encoding.UTF8.GetBytes($"{{{string.Join(", ", members)}}}");
        return Convert.ToBase64String(json).Replace('+', '-').Replace('/', '_');
    }

    /// <summary>Decodes what <see cref="Encode"/> made.</summary>
    /// <exception cref="ConfigException">The text is something else.</exception>
    public static IReadOnlyList<HostSlots> Decode(string text)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(Base64Url.DecodeFromChars(text.TrimEnd('=')));
            List<HostSlots> hosts = [.. document.RootElement.EnumerateObject().Select(host =>
                new HostSlots(host.Name, [.. host.Value.EnumerateArray().Select(slot => slot.ToString())]))];
            if (hosts.Count > 0 && hosts.All(host => host.Slots.Count > 0))
            {
                return hosts;
            }
        }
        catch (Exception e) when (e is FormatException or JsonException or InvalidOperationException)
        {
        }

        throw Refusal.Option("--world_info", "it does not say which hosts and slots there are",
            "let the deepspeed command make it");
    }

    private static string Slot(string slot) =>
        IsNumber(slot) ? slot : JsonSerializer.Serialize(slot);

    /// <summary>Whether a slot is a device's number, and not a UUID.</summary>
    public static bool IsNumber(string slot) =>
        int.TryParse(slot, NumberStyles.None, CultureInfo.InvariantCulture, out int n)
        && n.ToString(CultureInfo.InvariantCulture) == slot;
}
