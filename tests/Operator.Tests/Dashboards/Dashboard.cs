using System.Text.Json;

namespace DeepSpeedSharp.Operator.Tests.Dashboards;

/// <summary>A dashboard of the chart, as Grafana would read it.</summary>
internal sealed record Dashboard(string Title, IReadOnlyList<DashboardVariable> Variables, IReadOnlyList<DashboardPanel> Panels)
{
    public static Dashboard Load(string file)
    {
        using var document = JsonDocument.Parse(File.ReadAllText(
            RepositoryFiles.Path("deploy", "helm", "deepspeed-operator", "files", file)));
        JsonElement root = document.RootElement;
        return new Dashboard(Text(root, "title"),
            [
                .. root.GetProperty("templating").GetProperty("list").EnumerateArray().Where(v => Text(v, "type") == "query")
                    .Select(v => new DashboardVariable(Text(v, "name"), Text(v, "definition"), v.GetProperty("includeAll").GetBoolean())),
            ],
            [.. root.GetProperty("panels").EnumerateArray().Select(DashboardPanel.Read)]);
    }

    internal static string Text(JsonElement element, string name) =>
        element.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
}

/// <summary>A variable that is filled from <c>label_values(metric{…}, label)</c>.</summary>
internal sealed record DashboardVariable(string Name, string Definition, bool IncludesAll);

/// <summary>A query of a panel.</summary>
internal sealed record DashboardTarget(string RefId, string Expression, string Legend, string Format);

/// <summary>A panel: place, kind and queries.</summary>
internal sealed record DashboardPanel
{
    public required string Title { get; init; }

    public required string Type { get; init; }

    public required (int X, int Y, int W, int H) Grid { get; init; }

    public required string Unit { get; init; }

    public int? Decimals { get; init; }

    public bool IsStacked { get; init; }

    public double? Min { get; init; }

    public double? Max { get; init; }

    /// <summary>line, bars or points.</summary>
    public required string Style { get; init; }

    public bool LegendIsRight { get; init; }

    /// <summary>Names of series that have an axis of their own, at the right, with its unit and style.</summary>
    public required IReadOnlyDictionary<string, (string Unit, string Style)> RightAxis { get; init; }

    public required IReadOnlyList<DashboardTarget> Targets { get; init; }

    public static DashboardPanel Read(JsonElement panel)
    {
        JsonElement grid = panel.GetProperty("gridPos"), defaults = panel.GetProperty("fieldConfig").GetProperty("defaults");
        JsonElement custom = defaults.TryGetProperty("custom", out JsonElement value) ? value : default;
        JsonElement legend = panel.TryGetProperty("options", out JsonElement options) && options.TryGetProperty("legend", out JsonElement l) ? l : default;
        var right = new Dictionary<string, (string Unit, string Style)>();
        foreach (JsonElement change in panel.GetProperty("fieldConfig").GetProperty("overrides").EnumerateArray())
        {
            JsonElement[] properties = [.. change.GetProperty("properties").EnumerateArray()];
            if (properties.Any(p => Dashboard.Text(p, "id") == "custom.axisPlacement" && Dashboard.Text(p, "value") == "right"))
            {
                string Property(string id, string usual) =>
                    properties.Where(p => Dashboard.Text(p, "id") == id).Select(p => Dashboard.Text(p, "value")).FirstOrDefault(usual);
                right[Dashboard.Text(change.GetProperty("matcher"), "options")] = (Property("unit", "short"), Property("custom.drawStyle", "line"));
            }
        }

        return new DashboardPanel
        {
            Title = Dashboard.Text(panel, "title"),
            Type = Dashboard.Text(panel, "type"),
            Grid = (grid.GetProperty("x").GetInt32(), grid.GetProperty("y").GetInt32(), grid.GetProperty("w").GetInt32(), grid.GetProperty("h").GetInt32()),
            Unit = Dashboard.Text(defaults, "unit"),
            Decimals = defaults.TryGetProperty("decimals", out JsonElement decimals) ? decimals.GetInt32() : null,
            IsStacked = custom.ValueKind == JsonValueKind.Object && custom.TryGetProperty("stacking", out JsonElement stacking)
                && Dashboard.Text(stacking, "mode") == "normal",
            Min = defaults.TryGetProperty("min", out JsonElement min) ? min.GetDouble() : null,
            Max = defaults.TryGetProperty("max", out JsonElement max) ? max.GetDouble() : null,
            Style = custom.ValueKind == JsonValueKind.Object && Dashboard.Text(custom, "drawStyle") is { Length: > 0 } style ? style : "line",
            LegendIsRight = legend.ValueKind == JsonValueKind.Object && Dashboard.Text(legend, "placement") == "right",
            RightAxis = right,
            Targets = [.. panel.GetProperty("targets").EnumerateArray().Select(t => new DashboardTarget(
                Dashboard.Text(t, "refId"), Dashboard.Text(t, "expr"), Dashboard.Text(t, "legendFormat"), Dashboard.Text(t, "format")))],
        };
    }
}
