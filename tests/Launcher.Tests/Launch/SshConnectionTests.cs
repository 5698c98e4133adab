using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests.Launch;

/// <summary>Lines of /proc/net/tcp as the kernel writes them.</summary>
public sealed class SshConnectionTests
{
    private const string Connection = "10.9.0.1 43210 10.9.0.2 22";

    // sl local remote state tx:rx timer:when retransmissions ...
    [Theory]
    [InlineData("   3: 0200090A:0016 0100090A:A8CA 01 00000048:00000000 01:00000014 00000003 0 0 1", true)]
    [InlineData("   3: 0200090A:0016 0100090A:A8CA 01 00000048:00000000 01:00000014 00000000 0 0 1", false)] // on its way
    [InlineData("   3: 0200090A:0016 0100090A:A8CA 01 00000048:00000000 04:00000014 00000003 0 0 1", false)] // receiver is full
    [InlineData("   3: 0200090A:0016 0100090A:A8CA 01 00000000:00000000 02:00000014 00000000 0 0 1", false)] // keep-alive
    [InlineData("   3: 0200090A:0016 0300090A:A8CA 01 00000048:00000000 01:00000014 00000003 0 0 1", false)] // another client
    [InlineData("   3: 0200090A:0017 0100090A:A8CA 01 00000048:00000000 01:00000014 00000003 0 0 1", false)] // another server
    [InlineData("   0: 0000000000000000FFFF00000200090A:0016 0000000000000000FFFF00000100090A:A8CA 01 00000048:00000000 01:00000014 00000003 0", true)]
    [InlineData("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode", false)]
    public void IsRetransmittingIn_Line_KnowsItsConnectionAndItsTimer(string line, bool expected) =>
        Assert.Equal(expected, SshConnection.Parse(Connection)!.IsRetransmittingIn(line));

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("10.9.0.1 43210 10.9.0.2")]
    [InlineData("UNKNOWN 65535 UNKNOWN 65535")]
    public void Parse_NoConnection_IsNull(string? text) => Assert.Null(SshConnection.Parse(text));
}
