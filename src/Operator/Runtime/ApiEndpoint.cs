using System.Net;
using System.Security.Cryptography.X509Certificates;
using k8s;
using k8s.Authentication;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>An API server: where it is, and what speaks to it.</summary>
/// <param name="http">Sends requests; disposed with this object.</param>
/// <param name="address">Address of the server.</param>
/// <param name="credentials">Who asks; null for nobody.</param>
internal sealed class ApiEndpoint(HttpClient http, Uri address, ServiceClientCredentials? credentials) : IDisposable
{
    /// <summary>Sends requests.</summary>
    public HttpClient HttpClient => http;

    /// <summary>Address of the server.</summary>
    public Uri BaseUri => address;

    /// <summary>Who asks; null for nobody.</summary>
    public ServiceClientCredentials? Credentials => credentials;

    /// <summary>The connection of a client, which stays the owner.</summary>
    public static implicit operator ApiEndpoint(Kubernetes client) => new(client.HttpClient, client.BaseUri, client.Credentials);

    /// <summary>The server that a pod's service account speaks to.</summary>
    /// <remarks>
    /// Without the client class, whose thousands of methods cost twelve megabytes before the first request, and with HTTP/2:
    /// one connection for everything, where HTTP/1.1 opens one for each request that is under way.
    /// </remarks>
    /// <param name="cluster">As read from the pod.</param>
    /// <param name="handlers">What every request passes through, outermost first.</param>
    public static ApiEndpoint OfPod(KubernetesClientConfiguration cluster, params DelegatingHandler[] handlers)
    {
        // The names in the certificate are checked as always; only the authority is the cluster's own.
        var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.AddRange(cluster.SslCaCerts ?? []);
        var sockets = new SocketsHttpHandler { UseProxy = false, EnableMultipleHttp2Connections = true };
        sockets.SslOptions.CertificateChainPolicy = policy;
        cluster.FirstMessageHandlerSetup?.Invoke(sockets);
        HttpMessageHandler chain = sockets;
        foreach (DelegatingHandler handler in handlers.Reverse())
        {
            handler.InnerHandler = chain;
            chain = handler;
        }

        var http = new HttpClient(chain)
        {
            Timeout = Timeout.InfiniteTimeSpan,
            DefaultRequestVersion = HttpVersion.Version20,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionOrLower,
        };
        http.DefaultRequestHeaders.UserAgent.ParseAdd(cluster.UserAgent);
        return new ApiEndpoint(http, new Uri(cluster.Host), cluster.TokenProvider is { } tokens ? new TokenCredentials(tokens) : null);
    }

    /// <inheritdoc/>
    public void Dispose() => http.Dispose();
}
