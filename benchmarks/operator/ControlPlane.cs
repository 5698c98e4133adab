using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace DeepSpeedSharp.Operator.Benchmarks;

/// <summary>etcd and kube-apiserver on free ports of this machine, with their files in memory. Nothing else of a cluster:
/// no controllers, no scheduler, no kubelet.</summary>
internal sealed class ControlPlane : IAsyncDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(90);

    private readonly List<Process> _processes = [];

    private ControlPlane(string folder, string server, string token, string fingerprint)
    {
        (Folder, Server, Token) = (folder, server, token);
        Api = new ApiClient(server, token, fingerprint);
    }

    public string Folder { get; }

    public string Server { get; }

    /// <summary>The administrator's.</summary>
    public string Token { get; }

    public ApiClient Api { get; }

    /// <summary>Every write that the operator sent, as the API server saw it.</summary>
    public string AuditLog => Path.Combine(Folder, "audit.log");

    /// <summary>The operator's service account, as files of a pod.</summary>
    public string Account => Path.Combine(Folder, "account");

    public static async Task<ControlPlane> StartAsync(string parent, string programs, string definition)
    {
        string folder = Directory.CreateDirectory(Path.Combine(parent, Guid.NewGuid().ToString("N"))).FullName;
        int[] ports = FreePorts(3);
        string token = Guid.NewGuid().ToString("N"), operatorToken = Guid.NewGuid().ToString("N");
        string fingerprint = WriteCertificate(folder);
        var plane = new ControlPlane(folder, Text($"https://127.0.0.1:{ports[2]}"), token, fingerprint);
        try
        {
            WriteFiles(folder, token, operatorToken);
            string client = Text($"http://127.0.0.1:{ports[0]}"), peer = Text($"http://127.0.0.1:{ports[1]}");
            plane.Run("etcd", File.Exists(Path.Combine(programs, "etcd")) ? Path.Combine(programs, "etcd") : "etcd", $"--data-dir {folder}/etcd --unsafe-no-fsync --log-level warn --quota-backend-bytes 8000000000 "
                + $"--listen-client-urls {client} --advertise-client-urls {client} --listen-peer-urls {peer} "
                + $"--initial-advertise-peer-urls {peer} --initial-cluster default={peer}");
            plane.Run("apiserver", Path.Combine(programs, "kube-apiserver"), Text($"--bind-address 127.0.0.1 --secure-port {ports[2]} ")
                + $"--etcd-servers {client} --tls-cert-file {folder}/server.crt --tls-private-key-file {folder}/server.key --token-auth-file {folder}/tokens.csv --authorization-mode RBAC "
                + $"--service-cluster-ip-range 10.96.0.0/16 --disable-admission-plugins ServiceAccount --profiling=false "
                + $"--service-account-issuer https://kubernetes.default.svc --service-account-key-file {folder}/key.pem "
                + $"--service-account-signing-key-file {folder}/key.pem --audit-policy-file {folder}/audit.yaml --audit-log-path {plane.AuditLog}");
            await plane.UntilAsync("/readyz", "the API server is ready");
            await plane.Api.PostAsync("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", await File.ReadAllTextAsync(definition), "application/yaml");
            await plane.UntilAsync(Load.Jobs, "the kind DeepSpeedJob is served");
            return plane;
        }
        catch
        {
            await plane.DisposeAsync();
            throw;
        }
    }

    /// <summary>The last lines of a program's log, for messages.</summary>
    public string LogOf(string name) =>
        string.Join('\n', File.ReadLines(Path.Combine(Folder, $"{name}.log")).TakeLast(15));

    /// <summary>Starts a program whose output goes to a file; it ends with this object.</summary>
    public Process Run(string name, string program, string arguments, IReadOnlyDictionary<string, string>? environment = null)
    {
        Process process = Start(name, program, arguments, environment);
        _processes.Add(process);
        return process;
    }

    /// <summary>Starts a program whose output goes to a file; the caller ends it.</summary>
    public Process Start(string name, string program, string arguments, IReadOnlyDictionary<string, string>? environment = null)
    {
        var start = new ProcessStartInfo("/bin/sh", ["-c", $"exec {program} {arguments} >>{Folder}/{name}.log 2>&1"]);
        foreach ((string variable, string value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[variable] = value;
        }

        return Process.Start(start)!;
    }

    public async ValueTask DisposeAsync()
    {
        Api.Dispose();
        _processes.Reverse();
        foreach (Process process in _processes)
        {
            if (!process.HasExited)
            {
                process.Kill();
                await process.WaitForExitAsync();
            }

            process.Dispose();
        }

        Directory.Delete(Folder, recursive: true);
    }

    public static int[] FreePorts(int count)
    {
        TcpListener[] listeners = [.. Enumerable.Range(0, count).Select(_ => new TcpListener(IPAddress.Loopback, 0))];
        foreach (TcpListener listener in listeners)
        {
            listener.Start();
        }

        int[] ports = [.. listeners.Select(l => ((IPEndPoint)l.LocalEndpoint).Port)];
        foreach (TcpListener listener in listeners)
        {
            listener.Dispose();
        }

        return ports;
    }

    private async Task UntilAsync(string path, string what)
    {
        var clock = Stopwatch.StartNew();
        while (!await Api.IsThereAsync(path))
        {
            if (clock.Elapsed > StartLimit || _processes.Any(p => p.HasExited))
            {
                throw new TimeoutException(Text($"not within {StartLimit.TotalSeconds} s: {what}\n{LogOf("etcd")}\n{LogOf("apiserver")}"));
            }

            await Task.Delay(200);
        }
    }

    private static string WriteCertificate(string folder)
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=kube-apiserver", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, false, 0, true));
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        using X509Certificate2 certificate = request.CreateSelfSigned(now.AddHours(-1), now.AddDays(1));
        File.WriteAllText(Path.Combine(folder, "server.crt"), certificate.ExportCertificatePem());
        File.WriteAllText(Path.Combine(folder, "server.key"), key.ExportRSAPrivateKeyPem());
        return certificate.GetCertHashString();
    }

    private static void WriteFiles(string folder, string token, string operatorToken)
    {
        using var key = RSA.Create(2048);
        File.WriteAllText(Path.Combine(folder, "key.pem"), key.ExportRSAPrivateKeyPem());
        File.WriteAllText(Path.Combine(folder, "tokens.csv"), $"{token},admin,admin,\"system:masters\"\n{operatorToken},operator,operator,\"system:masters\"\n");
        File.WriteAllText(Path.Combine(folder, "audit.yaml"), """
            apiVersion: audit.k8s.io/v1
            kind: Policy
            omitStages: [RequestReceived]
            rules:
            - { level: Metadata, users: [operator], verbs: [create, update, patch, delete, deletecollection] }
            - { level: None }
            """);
        string account = Directory.CreateDirectory(Path.Combine(folder, "account")).FullName;
        File.WriteAllText(Path.Combine(account, "token"), operatorToken);
        File.WriteAllText(Path.Combine(account, "namespace"), "default");
        File.Copy(Path.Combine(folder, "server.crt"), Path.Combine(account, "ca.crt"));
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
