using System.Buffers;
using System.Text;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Operator.Tests.Runtime;

public sealed class JsonLinesTests
{
    [Theory]
    [InlineData("", "")]
    [InlineData("a\nb\n", "a|b")]
    [InlineData("a\n\n\nb", "a|b")]
    [InlineData("a", "a")]
    [InlineData("\n", "")]
    public async Task Lines_OfAText_AreThoseOfItsBytes(string text, string lines) =>
        Assert.Equal(lines, string.Join('|', await Read(text, text.Length + 1)));

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(16_384)]
    [InlineData(100_000)]
    public async Task Lines_InPiecesOfAnySize_AreWhole(int piece)
    {
        string[] lines = [.. Enumerable.Range(0, 40).Select(i => new string((char)('a' + i % 26), i * i * 20 + 1))];

        Assert.Equal(lines, await Read(string.Join('\n', lines) + "\n", piece));
    }

    private static async Task<List<string>> Read(string text, int piece)
    {
        var lines = new List<string>();
        using var stream = new Pieces(Encoding.UTF8.GetBytes(text), piece);
        await JsonLines.ReadAsync(stream, line => lines.Add(Encoding.UTF8.GetString(line.ToArray())), TestContext.Current.CancellationToken);
        return lines;
    }

    private sealed class Pieces(byte[] bytes, int piece) : MemoryStream(bytes)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(piece, buffer.Length)], cancellationToken);
    }
}
