using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using DeepSpeedSharp.Operator.Serving;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Serving;

/// <summary>Ports of probes and metrics, and the certificate of secure ones.</summary>
public sealed class EndpointsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("deepspeed-tls-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Plain_OnePort_ServesAll()
    {
        int port = FreePort();
        await using WebApplication app = await StartAsync(new OperatorOptions { MetricsPort = port });

        Assert.Equal((200, "ok\n"), await GetAsync($"http://127.0.0.1:{port}/readyz"));
        Assert.Contains("deepspeedjob_pods_created_total", (await GetAsync($"http://127.0.0.1:{port}/metrics")).Text);
    }

    [Fact]
    public async Task NoMetrics_LeavesProbes()
    {
        int port = FreePort();
        await using WebApplication app = await StartAsync(new OperatorOptions { MetricsPort = 0, HealthPort = port }, waits: "the definition is old");

        Assert.Equal((200, "ok\n"), await GetAsync($"http://127.0.0.1:{port}/healthz"));
        Assert.Equal((503, "the definition is old\n"), await GetAsync($"http://127.0.0.1:{port}/readyz"));
        Assert.Equal(404, (await GetAsync($"http://127.0.0.1:{port}/metrics")).Code);
    }

    [Fact]
    public async Task Secure_HidesMetricsFromTheOtherPort_WhateverTheHostHeader()
    {
        (int metrics, int health) = (FreePort(), FreePort());
        await using WebApplication app = await StartAsync(new OperatorOptions { MetricsPort = metrics, HealthPort = health, SecureMetrics = true });

        Assert.Equal(200, (await GetAsync($"https://127.0.0.1:{metrics}/metrics")).Code);
        Assert.Equal(200, (await GetAsync($"http://127.0.0.1:{health}/readyz")).Code);
        Assert.Equal(404, (await GetAsync($"http://127.0.0.1:{health}/metrics", host: $"127.0.0.1:{metrics}")).Code);
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => GetAsync($"http://127.0.0.1:{metrics}/metrics"));
    }

    [Fact]
    public async Task Certificate_OfAFolder_IsUsedWithItsChain()
    {
        using X509Certificate2 authority = Write("metrics.example");
        (int metrics, int health) = (FreePort(), FreePort());
        await using WebApplication app = await StartAsync(
            new OperatorOptions { MetricsPort = metrics, HealthPort = health, SecureMetrics = true, MetricsCertificate = _folder });
        string? seen = null;
        var chain = new List<string>();
        using var handler = new HttpClientHandler
        {
            ServerCertificateCustomValidationCallback = (_, certificate, sent, _) =>
            {
                seen = certificate!.Subject;
                chain.AddRange(sent!.ChainPolicy.ExtraStore.Select(c => c.Subject));
                return true;
            },
        };
        using var client = new HttpClient(handler);

        await client.GetStringAsync(new Uri($"https://127.0.0.1:{metrics}/metrics"), TestContext.Current.CancellationToken);

        Assert.Equal("CN=metrics.example", seen);
        Assert.Contains("CN=authority of metrics.example", chain);
    }

    [Fact]
    public void Certificate_ThatChanges_IsReadAgain_AndABrokenOneIsNot()
    {
        var time = new FakeTimeProvider();
        Write("one").Dispose();
        var certificate = new ServingCertificate(_folder, "unused", time, NullLogger.Instance);
        Assert.Equal("CN=one", certificate.Current().TargetCertificate.Subject);

        Write("two").Dispose();
        Assert.Equal("CN=one", certificate.Current().TargetCertificate.Subject);
        time.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal("CN=two", certificate.Current().TargetCertificate.Subject);

        File.WriteAllText(Path.Combine(_folder, "tls.crt"), "broken");
        File.SetLastWriteTimeUtc(Path.Combine(_folder, "tls.crt"), new DateTime(2030, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        time.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal("CN=two", certificate.Current().TargetCertificate.Subject);
    }

    [Fact]
    public void Certificate_ThatIsMissing_EndsTheStart() =>
        Assert.ThrowsAny<IOException>(() => new ServingCertificate(Path.Combine(_folder, "nothing"), "unused", TimeProvider.System, NullLogger.Instance).Current());

    [Fact]
    public void OwnCertificate_IsMadeAnewLongBeforeItEnds()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        var certificate = new ServingCertificate(null, "deepspeed-operator", time, NullLogger.Instance);
        string first = certificate.Current().TargetCertificate.Thumbprint;
        Assert.Equal(first, certificate.Current().TargetCertificate.Thumbprint);

        time.Advance(TimeSpan.FromDays(200));

        Assert.NotEqual(first, certificate.Current().TargetCertificate.Thumbprint);
    }

    private static async Task<WebApplication> StartAsync(OperatorOptions options, string? waits = null)
    {
        options.Check();
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        Endpoints.Listen(builder.WebHost, options, TimeProvider.System);
        WebApplication app = builder.Build();
        Endpoints.Map(app, options, new OperatorMetrics(), () => waits, access: null);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return app;
    }

    private static async Task<(int Code, string Text)> GetAsync(string url, string? host = null)
    {
        using var handler = new HttpClientHandler { ServerCertificateCustomValidationCallback = HttpClientHandler.DangerousAcceptAnyServerCertificateValidator };
        using var client = new HttpClient(handler);
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(url)) { Headers = { Host = host } };
        using HttpResponseMessage answer = await client.SendAsync(request, TestContext.Current.CancellationToken);
        return ((int)answer.StatusCode, await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
    }

    // A certificate with the one of its authority, as kubelet mounts them.
    private X509Certificate2 Write(string name)
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        using ECDsa rootKey = ECDsa.Create(ECCurve.NamedCurves.nistP256), authorityKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using X509Certificate2 root = Authority($"CN=root of {name}", rootKey).CreateSelfSigned(now.AddHours(-2), now.AddDays(3));
        using X509Certificate2 made = Authority($"CN=authority of {name}", authorityKey).Create(root, now.AddHours(-1), now.AddDays(2), [1, 2]);
        X509Certificate2 authority = made.CopyWithPrivateKey(authorityKey);
        using X509Certificate2 leaf = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256)
            .Create(authority, now.AddMinutes(-30), now.AddDays(1), [1, 2, 3]);
        File.WriteAllText(Path.Combine(_folder, "tls.crt"), $"{leaf.ExportCertificatePem()}\n{authority.ExportCertificatePem()}\n");
        File.WriteAllText(Path.Combine(_folder, "tls.key"), key.ExportPkcs8PrivateKeyPem());
        return authority;
    }

    private static CertificateRequest Authority(string name, ECDsa key)
    {
        var request = new CertificateRequest(name, key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        return request;
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
