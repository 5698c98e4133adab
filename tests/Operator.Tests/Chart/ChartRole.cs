using System.Net;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using Microsoft.AspNetCore.Http;
using YamlDotNet.RepresentationModel;

namespace DeepSpeedSharp.Operator.Tests.Chart;

/// <summary>The rights that the rendered chart gives the operator, applied to the requests of the fake API server.</summary>
internal sealed class ChartRole
{
    private readonly HashSet<Right> _rights = [];
    private readonly HashSet<Right> _used = [];

    private ChartRole()
    {
    }

    /// <summary>Requests that were refused.</summary>
    public List<string> Refused { get; } = [];

    /// <summary>Rights that no request needed.</summary>
    public IEnumerable<string> Unused => _rights.Except(_used).Select(r => r.ToString()).Order(StringComparer.Ordinal);

    /// <summary>Every right.</summary>
    public IEnumerable<Right> Rights => _rights;

    public static ChartRole Of(IEnumerable<YamlMappingNode> objects)
    {
        var role = new ChartRole();
        foreach (YamlMappingNode o in objects.Where(o => Text(o["kind"]) is "ClusterRole" or "Role" && !IsOfUsers(Text(o["metadata"]["name"]))))
        {
            foreach (YamlNode rule in ((YamlSequenceNode)o["rules"]).Where(r => ((YamlMappingNode)r).Children.ContainsKey("resources")))
            {
                IEnumerable<string> names = ((YamlMappingNode)rule).Children.TryGetValue("resourceNames", out YamlNode? some) ? Texts(some) : [""];
                role._rights.UnionWith(
                    from name in names
                    from @group in Texts(rule["apiGroups"])
                    from resource in Texts(rule["resources"])
                    from verb in Texts(rule["verbs"])
                    select new Right(verb, @group, resource, name));
            }
        }

        return role;
    }

    /// <summary>Refuses what the role does not allow, as the API server does.</summary>
    public async Task<bool> Intercept(HttpContext context)
    {
        string[] parts = context.Request.Path.Value!.Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length < 3 || (parts.Length == 3 && parts[0] == "apis"))
        {
            return false; // discovery is for everybody
        }

        var path = ResourcePath.Parse(context.Request.Path);
        string verb = context.Request.Method switch
        {
            "GET" when context.Request.Query.ContainsKey("watch") => "watch",
            "GET" => path.Name is null ? "list" : "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            _ => path.Name is null ? "deletecollection" : "delete",
        };
        string resource = path.Subresource is null ? path.Plural : $"{path.Plural}/{path.Subresource}";
        var wanted = new Right(verb, parts[0] == "api" ? "" : parts[1], resource, "");
        lock (_used)
        {
            if (_rights.FirstOrDefault(r => r == wanted || r == wanted with { Name = path.Name ?? "" }) is { } right)
            {
                _used.Add(right);
                return false;
            }

            Refused.Add(wanted.ToString());
        }

        context.Response.StatusCode = (int)HttpStatusCode.Forbidden;
        await context.Response.WriteAsync($$"""{"kind":"Status","status":"Failure","reason":"Forbidden","message":"may not {{wanted}}","code":403}""");
        return true;
    }

    private static bool IsOfUsers(string name) => name.Contains("-deepspeedjob-", StringComparison.Ordinal) || name.EndsWith("-metrics-reader", StringComparison.Ordinal);

    private static string Text(YamlNode node) => ((YamlScalarNode)node).Value!;

    private static IEnumerable<string> Texts(YamlNode list) => ((YamlSequenceNode)list).Select(Text);
}

/// <summary>One thing that may be done.</summary>
/// <param name="Verb">The verb.</param>
/// <param name="Group">API group.</param>
/// <param name="Resource">Plural, and subresource.</param>
/// <param name="Name">The only object; empty for all.</param>
internal sealed record Right(string Verb, string Group, string Resource, string Name)
{
    public override string ToString() => $"{Verb} {Resource}{(Group.Length == 0 ? "" : "." + Group)}{(Name.Length == 0 ? "" : " " + Name)}";
}
