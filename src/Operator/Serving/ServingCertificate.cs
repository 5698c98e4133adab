using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace DeepSpeedSharp.Operator.Serving;

/// <summary>The certificate of the metrics port: from a mounted folder, read again when it changes, or made by this process.</summary>
/// <param name="folder">Folder with tls.crt and tls.key; null for one that this process makes.</param>
/// <param name="name">Name in the certificate that this process makes.</param>
/// <param name="time">Clock.</param>
/// <param name="log">Log.</param>
internal sealed class ServingCertificate(string? folder, string name, TimeProvider time, ILogger log)
{
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Lifetime = TimeSpan.FromDays(365);
    private readonly Lock _lock = new();
    private SslStreamCertificateContext? _current;
    private DateTimeOffset _good;
    private DateTime _written;

    /// <summary>The certificate for a connection that begins now, with the others of its chain.</summary>
    /// <exception cref="IOException">There is none yet, and the files cannot be read.</exception>
    /// <exception cref="CryptographicException">There is none yet, and the files hold none.</exception>
    public SslStreamCertificateContext Current()
    {
        lock (_lock)
        {
            DateTimeOffset now = time.GetUtcNow();
            if (_current is null || now >= _good)
            {
                _current = folder is null ? Make(now) : Read(folder, now);
            }

            return _current;
        }
    }

    // Of an own certificate nobody can check more than that the connection is encrypted.
    private SslStreamCertificateContext Make(DateTimeOffset now)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName(name);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1")], critical: false));
        _good = now + Lifetime / 2;
        return SslStreamCertificateContext.Create(request.CreateSelfSigned(now - TimeSpan.FromHours(1), now + Lifetime), null, offline: true);
    }

    // kubelet replaces both files at once, by a link.
    private SslStreamCertificateContext Read(string files, DateTimeOffset now)
    {
        (string certificate, string key) = (Path.Combine(files, "tls.crt"), Path.Combine(files, "tls.key"));
        _good = now + BetweenLooks;
        try
        {
            DateTime written = File.GetLastWriteTimeUtc(certificate);
            if (_current is null || written != _written)
            {
                var chain = new X509Certificate2Collection();
                chain.ImportFromPemFile(certificate);
                _current = SslStreamCertificateContext.Create(X509Certificate2.CreateFromPemFile(certificate, key), chain, offline: true);
                _written = written;
            }
        }
        catch (Exception e) when (_current is not null && e is (IOException or UnauthorizedAccessException or CryptographicException))
        {
            Log.CertificateUnreadable(log, files, e.Message);
        }

        return _current!;
    }
}
