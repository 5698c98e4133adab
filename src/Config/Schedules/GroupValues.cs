namespace DeepSpeedSharp.Config.Schedules;

/// <summary>Spreads the values of a setting over the parameter groups.</summary>
/// <param name="groups">Number of groups.</param>
/// <param name="errors">Receives a problem for each list that does not fit.</param>
internal sealed class GroupValues(int groups, ConfigErrors errors)
{
    public int Count => groups;

    /// <summary>One value per group.</summary>
    /// <param name="values">One value for all groups, or one for each.</param>
    /// <param name="key">The setting, below <c>scheduler.params</c>.</param>
    public IReadOnlyList<double> Spread(IReadOnlyList<double> values, string key)
    {
        if (values.Count == groups)
        {
            return values;
        }

        if (values.Count != 1)
        {
            errors.Add($"scheduler.params.{key}",
                $"it has {values.Count} values, and the optimizer has {(groups == 1 ? "one parameter group" : $"{groups} parameter groups")}",
                groups == 1 ? "write one number" : $"write one number for all groups, or a list of {groups}");
        }

        return [.. Enumerable.Repeat(values.Count > 0 ? values[0] : 0, groups)];
    }
}
