using System.Globalization;
using DeepSpeedSharp.Jobs;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>Requests and limits of the worker's container.</summary>
internal static class PodResources
{
    /// <summary>The user's amounts, and the GPUs of gpusPerNode; null when there are none.</summary>
    public static V1ResourceRequirements? Of(DeepSpeedJobSpec spec)
    {
        Dictionary<string, ResourceQuantity> limits = Amounts(spec.Resources?.Limits);
        Dictionary<string, ResourceQuantity> requests = Amounts(spec.Resources?.Requests);
        if (spec.PodGpus() > 0)
        {
            // Requests of a device follow its limits.
            limits[spec.GpuResourceName()] = new ResourceQuantity(spec.PodGpus().ToString(CultureInfo.InvariantCulture));
        }

        return limits.Count + requests.Count == 0 ? null : new V1ResourceRequirements
        {
            Limits = limits.Count == 0 ? null : limits,
            Requests = requests.Count == 0 ? null : requests,
        };
    }

    /// <summary>Largest size of /dev/shm: the user's, or half of the memory limit, against which it counts; null for no limit.</summary>
    public static ResourceQuantity? SharedMemory(DeepSpeedJobSpec spec)
    {
        if (spec.Shm?.SizeLimit is { } size)
        {
            return new ResourceQuantity(size.Text);
        }

        return spec.Resources?.Limits?.TryGetValue("memory", out Quantity memory) == true
            ? new ResourceQuantity(decimal.Floor(new ResourceQuantity(memory.Text).ToDecimal() / 2).ToString(CultureInfo.InvariantCulture)) : null;
    }

    private static Dictionary<string, ResourceQuantity> Amounts(IReadOnlyDictionary<string, Quantity>? amounts) =>
        (amounts ?? new Dictionary<string, Quantity>()).ToDictionary(a => a.Key, a => new ResourceQuantity(a.Value.Text));
}
