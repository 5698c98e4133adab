using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Tests.Planning;

namespace DeepSpeedSharp.Operator.Tests.Resources;

public sealed class TemplateRulesTests
{
    [Theory]
    [InlineData("""{"spec":{"tolerationz":[]}}""", "spec.template.spec.tolerationz: there is no such field; did you mean \"tolerations\"?")]
    [InlineData("""{"spec":{"containers":[{"name":"trainer","image":"x","resources":{"limit":{}}}]}}""", "spec.template.spec.containers[0].resources.limit")]
    [InlineData("""{"spec":{"containers":[{"name":"trainer","image":"x"}]}}""", "spec.template.spec.containers[trainer].image: spec.image is given too")]
    [InlineData("""{"spec":{"priority":"high"}}""", "spec.template: a value has the wrong type")]
    [InlineData("""{"metadata":{"name":"mine"}}""", "spec.template.metadata.name: it belongs to the job")]
    [InlineData("""{"metadata":{"labels":{"deepspeedsharp.dev/attempt":"9"}}}""", "deepspeedsharp.dev/attempt belongs to the job")]
    [InlineData("""{"spec":{"restartPolicy":"Always"}}""", "spec.template.spec.restartPolicy: it belongs to the job; remove it: use restart.policy")]
    [InlineData("""{"spec":{"containers":[{"name":"trainer","env":[{"name":"RANK","value":"7"}]}]}}""", "RANK is set by the job itself")]
    [InlineData("""{"spec":{"containers":[{"name":"trainer","resources":{"limits":{"nvidia.com/gpu":3}}}]}}""", "nvidia.com/gpu is 3 there, and gpusPerNode 0")]
    [InlineData("""{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/"}}]}}""", "spec.template.spec.volumes[v].hostPath: it reaches into the machine")]
    [InlineData("""{"spec":{"hostPID":true}}""", "spec.template.spec.hostPID: it reaches into the machine")]
    [InlineData("""{"spec":{"initContainers":[{"name":"i","securityContext":{"privileged":true}}]}}""", "spec.template.spec.initContainers[i].securityContext.privileged")]
    [InlineData("""{"spec":{"nodeName":"gpu-17"}}""", "spec.template.spec.nodeName: it reaches into the machine")]
    [InlineData("""{"spec":{"hostIPC":true}}""", "spec.template.spec.hostIPC")]
    [InlineData("""{"spec":{"HostPID":true}}""", "spec.template.spec.HostPID: there is no such field; did you mean \"hostPID\"?")]
    [InlineData("""{"spec":{"volumes":[{"name":"v","flexVolume":{"driver":"d"}}]}}""", "spec.template.spec.volumes[v].flexVolume")]
    [InlineData("""{"spec":{"volumes":[{"name":"v","gitRepo":{"repository":"r"}}]}}""", "spec.template.spec.volumes[v].gitRepo")]
    [InlineData("""{"spec":{"securityContext":{"seccompProfile":{"type":"Unconfined"}}}}""", "spec.template.spec.securityContext.seccompProfile")]
    [InlineData("""{"spec":{"securityContext":{"seLinuxOptions":{"type":"spc_t"}}}}""", "spec.template.spec.securityContext.seLinuxOptions")]
    [InlineData("""{"spec":{"securityContext":{"sysctls":[{"name":"kernel.msgmax","value":"1"}]}}}""", "spec.template.spec.securityContext.sysctls[kernel.msgmax]")]
    [InlineData("""{"spec":{"securityContext":{"windowsOptions":{"hostProcess":true}}}}""", "securityContext.windowsOptions.hostProcess")]
    [InlineData("""{"spec":{"containers":[{"name":"c","securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}}]}}""", "containers[c].securityContext.capabilities.add[SYS_ADMIN]")]
    [InlineData("""{"spec":{"containers":[{"name":"c","securityContext":{"procMount":"Unmasked"}}]}}""", "containers[c].securityContext.procMount")]
    [InlineData("""{"spec":{"containers":[{"name":"trainer","securityContext":{"appArmorProfile":{"type":"Unconfined"}}}]}}""", "containers[trainer].securityContext.appArmorProfile")]
    [InlineData("""{"spec":{"containers":[{"name":"c","ports":[{"containerPort":1,"hostPort":2}]}]}}""", "spec.template.spec.containers[c].ports")]
    [InlineData("""{"spec":{"containers":[{"name":"c","livenessProbe":{"httpGet":{"host":"169.254.169.254","port":80}}}]}}""", "containers[c].livenessProbe.host")]
    [InlineData("""{"spec":{"containers":[{"name":"c","lifecycle":{"preStop":{"tcpSocket":{"host":"10.0.0.1","port":80}}}}]}}""", "containers[c].lifecycle.preStop.host")]
    [InlineData("""{"metadata":{"annotations":{"container.apparmor.security.beta.kubernetes.io/trainer":"unconfined"}}}""", "spec.template.metadata.annotations.container.apparmor")]
    public void Template_ThatSaysTooMuch_IsRefusedByName(string template, string problem)
    {
        DeepSpeedJobSpec spec = Some.Spec() with { Template = JsonNode.Parse(template)!.AsObject() };

        Assert.Contains(problem, string.Join('\n', ClusterRules.Check("a", spec)));
    }

    [Fact]
    public void HostAccess_Allowed_IsNoProblem()
    {
        DeepSpeedJobSpec spec = Some.Spec() with
        {
            Template = JsonNode.Parse("""{"spec":{"hostIPC":true,"volumes":[{"name":"v","hostPath":{"path":"/"}}]}}""")!.AsObject(),
            Network = new NetworkSpec { HostNetwork = true },
        };

        Assert.Equal(3, ClusterRules.Check("a", spec).Count);
        Assert.Empty(ClusterRules.Check("a", spec, allowHostAccess: true));
    }

    [Fact]
    public void WhatJobsNeed_IsNoHostAccess() => Assert.Empty(ClusterRules.Check("a", Some.Spec() with
    {
        Template = JsonNode.Parse("""
            {"metadata":{"annotations":{"k8s.v1.cni.cncf.io/networks":"rdma-net"}},
             "spec":{"priorityClassName":"high","nodeSelector":{"gpu":"h200"},"tolerations":[{"operator":"Exists"}],"serviceAccountName":"trainer",
              "securityContext":{"runAsUser":0,"runAsNonRoot":false,"sysctls":[{"name":"net.ipv4.tcp_rmem","value":"1"}]},
              "volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"c"}},{"name":"key","secret":{"secretName":"s"}}],
              "containers":[{"name":"trainer","securityContext":{"capabilities":{"add":["IPC_LOCK"]}},"livenessProbe":{"httpGet":{"port":9400}}}]}}
            """)!.AsObject(),
    }));

    [Theory]
    [InlineData("..")]
    [InlineData("other/settings")]
    [InlineData("Settings")]
    [InlineData("settings?watch=true")]
    public void ConfigReference_ThatIsNoName_IsRefused(string name) =>
        Assert.Equal("spec.configRef.name", Assert.Single(ClusterRules.Check("a", Some.Spec() with { ConfigRef = new ConfigReference { Name = name } })).Path);

    [Fact]
    public void Image_OfTheTemplate_IsEnough() => Assert.Empty(ClusterRules.Check("a", Some.Spec() with
    {
        Image = null,
        Template = JsonNode.Parse("""{"spec":{"containers":[{"name":"trainer","image":"mine:1"}]}}""")!.AsObject(),
    }));
}
