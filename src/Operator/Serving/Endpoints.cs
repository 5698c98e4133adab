using System.Net.Security;
using System.Security.Cryptography;
using DeepSpeedSharp.Config;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Prometheus;

namespace DeepSpeedSharp.Operator.Serving;

/// <summary>What the process answers over HTTP: probes, and metrics, on ports of their own or on one.</summary>
internal static class Endpoints
{
    /// <summary>Opens the ports.</summary>
    public static void Listen(IWebHostBuilder host, OperatorOptions options, TimeProvider time)
    {
        host.UseKestrelCore().UseKestrelHttpsConfiguration();
        host.ConfigureKestrel((_, kestrel) =>
        {
            kestrel.AddServerHeader = false;
            foreach (int port in new[] { options.MetricsPort, options.HealthPort }.Where(p => p != 0).Distinct())
            {
                kestrel.ListenAnyIP(port, listen =>
                {
                    if (options.SecureMetrics && port == options.MetricsPort)
                    {
                        Secure(listen, options, time);
                    }
                });
            }
        });
    }

    /// <summary>Says what is answered.</summary>
    /// <param name="app">The web server.</param>
    /// <param name="options">How the operator runs.</param>
    /// <param name="metrics">The metrics.</param>
    /// <param name="waits">Why jobs are not looked after yet; null when they are.</param>
    /// <param name="access">Who may read the metrics; null for everybody.</param>
    public static void Map(WebApplication app, OperatorOptions options, OperatorMetrics metrics, Func<string?> waits, MetricsAccess? access)
    {
        // Three paths need no routing, and the handlers that it compiles.
        app.Run(context => context.Request.Path.Value switch
        {
            "/healthz" => AnswerAsync(context, 200, "ok"),
            "/readyz" => waits() is { } reason ? AnswerAsync(context, 503, reason) : AnswerAsync(context, 200, "ok"),

            // By the port that was connected to: the Host header is the caller's.
            "/metrics" when options.MetricsPort != 0 && context.Connection.LocalPort == options.MetricsPort => MetricsAsync(context, metrics, access),
            _ => AnswerAsync(context, 404, "here are /healthz, /readyz and, on its port, /metrics"),
        });
    }

    private static async Task MetricsAsync(HttpContext context, OperatorMetrics metrics, MetricsAccess? access)
    {
        if (access is not null && await access.AskAsync(context.Request.Headers.Authorization, context.RequestAborted) is { Code: not 200 } answer)
        {
            if (answer.Code == 401)
            {
                context.Response.Headers.WWWAuthenticate = "Bearer";
            }

            await AnswerAsync(context, answer.Code, answer.Text);
            return;
        }

        context.Response.ContentType = PrometheusConstants.TextContentTypeWithVersionAndEncoding;
        await metrics.Registry.CollectAndExportAsTextAsync(context.Response.Body, ExpositionFormat.PrometheusText, context.RequestAborted);
    }

    private static Task AnswerAsync(HttpContext context, int code, string text)
    {
        (context.Response.StatusCode, context.Response.ContentType) = (code, "text/plain; charset=utf-8");
        return context.Response.WriteAsync(text.EndsWith('\n') ? text : text + "\n", context.RequestAborted);
    }

    private static void Secure(ListenOptions listen, OperatorOptions options, TimeProvider time)
    {
        ILogger log = listen.ApplicationServices.GetRequiredService<ILoggerFactory>().CreateLogger(OperatorHost.LogName);
        var certificate = new ServingCertificate(options.MetricsCertificate, "deepspeed-operator", time, log);

        // A missing file should end the process at its start, not each connection.
        try
        {
            certificate.Current();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CryptographicException)
        {
            throw new ConfigException("the certificate of the metrics port", [new ConfigError("--metrics-certificate",
                $"tls.crt and tls.key in {options.MetricsCertificate} cannot be used: {e.Message}", "mount a Secret of type kubernetes.io/tls there")]);
        }

        listen.UseHttps(new TlsHandshakeCallbackOptions
        {
            OnConnection = _ => ValueTask.FromResult(new SslServerAuthenticationOptions
            {
                ServerCertificateContext = certificate.Current(),
                ApplicationProtocols = [SslApplicationProtocol.Http2, SslApplicationProtocol.Http11],
            }),
        });
    }
}
