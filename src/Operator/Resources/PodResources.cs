using System.Globalization;
using DeepSpeedSharp.Jobs;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>Requests and limits of the worker's container.</summary>
internal static class PodResources
{
    /// <summary>Resource name of GPUs.</summary>
    public const string Gpu = "nvidia.com/gpu";

    /// <summary>The user's amounts, and the GPUs of gpusPerNode; null when there are none.</summary>
    public static V1ResourceRequirements? Of(DeepSpeedJobSpec spec)
    {
        Dictionary<string, ResourceQuantity> limits = Amounts(spec.Resources?.Limits);
        Dictionary<string, ResourceQuantity> requests = Amounts(spec.Resources?.Requests);
        if (spec.Gpus() > 0)
        {
            // Requests of a device follow its limits.
            limits[Gpu] = new ResourceQuantity(spec.Gpus().ToString(CultureInfo.InvariantCulture));
        }

        return limits.Count + requests.Count == 0 ? null : new V1ResourceRequirements
        {
            Limits = limits.Count == 0 ? null : limits,
            Requests = requests.Count == 0 ? null : requests,
        };
    }

    private static Dictionary<string, ResourceQuantity> Amounts(IReadOnlyDictionary<string, Quantity>? amounts) =>
        (amounts ?? new Dictionary<string, Quantity>()).ToDictionary(a => a.Key, a => new ResourceQuantity(a.Value.Text));
}
