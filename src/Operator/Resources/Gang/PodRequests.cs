using System.Globalization;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources.Gang;

/// <summary>What pods request together, as the scheduler counts it.</summary>
internal static class PodRequests
{
    /// <summary>The requests of a number of equal pods, by resource; limits stand in for requests that are left out.</summary>
    /// <param name="pod">One of the pods.</param>
    /// <param name="count">How many there are.</param>
    public static IReadOnlyDictionary<string, string> Of(V1Pod pod, int count)
    {
        // Containers run beside each other and beside init containers that stay; the other init containers run one by one before.
        SortedDictionary<string, decimal> total = new(StringComparer.Ordinal);
        SortedDictionary<string, decimal> before = new(StringComparer.Ordinal);
        SortedDictionary<string, decimal> staying = new(StringComparer.Ordinal);
        foreach (V1Container init in pod.Spec.InitContainers ?? [])
        {
            bool stays = init.RestartPolicy == "Always";
            foreach ((string name, decimal amount) in Of(init.Resources))
            {
                decimal beside = staying.GetValueOrDefault(name);
                before[name] = Math.Max(before.GetValueOrDefault(name), amount + beside);
                if (stays)
                {
                    staying[name] = amount + beside;
                }
            }
        }

        foreach ((string name, decimal amount) in pod.Spec.Containers.SelectMany(c => Of(c.Resources)).Concat(staying))
        {
            total[name] = total.GetValueOrDefault(name) + amount;
        }

        foreach ((string name, decimal amount) in before)
        {
            total[name] = Math.Max(total.GetValueOrDefault(name), amount);
        }

        foreach ((string name, ResourceQuantity amount) in pod.Spec.Overhead ?? new Dictionary<string, ResourceQuantity>())
        {
            total[name] = total.GetValueOrDefault(name) + amount.ToDecimal();
        }

        return total.Where(t => t.Value > 0).ToDictionary(t => t.Key, t => (t.Value * count).ToString("0.#########", CultureInfo.InvariantCulture));
    }

    private static Dictionary<string, decimal> Of(V1ResourceRequirements? resources) =>
        (resources?.Limits ?? new Dictionary<string, ResourceQuantity>())
            .Where(l => resources?.Requests?.ContainsKey(l.Key) != true)
            .Concat(resources?.Requests ?? new Dictionary<string, ResourceQuantity>())
            .ToDictionary(r => r.Key, r => r.Value.ToDecimal());
}
