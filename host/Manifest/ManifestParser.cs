using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vhost.Host.Manifest;

/// <summary>
/// Parses a manifest: JSON with comments and trailing commas. Notes the line of every key, and keys that occur twice, which a
/// JSON parser would let the last one win.
/// </summary>
internal static class ManifestParser
{
    private static readonly JsonReaderOptions Options = new() { AllowTrailingCommas = true, CommentHandling = JsonCommentHandling.Skip };

    /// <summary>Parses a text.</summary>
    /// <param name="utf8">The file's content.</param>
    /// <exception cref="ManifestSyntaxException">It is not a JSON object.</exception>
    internal static ManifestTree Parse(ReadOnlySpan<byte> utf8)
    {
        if (utf8.StartsWith(Encoding.UTF8.Preamble))
        {
            utf8 = utf8[Encoding.UTF8.Preamble.Length..];
        }

        var walk = new Walk(utf8);
        try
        {
            if (!walk.Reader.Read() || walk.Reader.TokenType != JsonTokenType.StartObject)
            {
                throw new ManifestSyntaxException(new("", "a manifest is a JSON object: { \"bdevs\": ..., \"transports\": ..., \"controllers\": ... }", 1, null));
            }

            JsonObject root = walk.ReadObject("");
            while (walk.Reader.Read())
            {
            }

            return new ManifestTree(root, walk.Lines) { DuplicateKeys = walk.Duplicates };
        }
        catch (JsonException exception)
        {
            int line = (int)(exception.LineNumber ?? 0) + 1;
            long column = (exception.BytePositionInLine ?? 0) + 1;
            // The parser's own text ends with the place, counted from 0.
            string text = exception.Message.Split(" LineNumber:")[0].TrimEnd('.');
            throw new ManifestSyntaxException(new("", $"not valid JSON at column {column}: {text}", line, null));
        }
        catch (InvalidOperationException exception)
        {
            throw new ManifestSyntaxException(new("", $"not valid JSON: {exception.Message.TrimEnd('.')}", walk.Line(), null));
        }
    }

    private ref struct Walk(ReadOnlySpan<byte> utf8)
    {
        private readonly ReadOnlySpan<byte> _text = utf8;
        private int _countedTo;
        private int _line = 1;

        public Utf8JsonReader Reader = new(utf8, Options);

        public Dictionary<string, int> Lines { get; } = new(StringComparer.Ordinal);

        public List<(string Path, int Line)> Duplicates { get; } = [];

        public JsonObject ReadObject(string path)
        {
            var result = new JsonObject();
            while (Reader.Read() && Reader.TokenType != JsonTokenType.EndObject)
            {
                string key = Reader.GetString()!;
                string inner = ManifestPath.Append(path, key);
                int line = Line();
                Reader.Read();
                JsonNode? value = ReadValue(inner);
                if (!result.TryAdd(key, value))
                {
                    Duplicates.Add((inner, line));
                }
                else
                {
                    Lines[inner] = line;
                }
            }

            return result;
        }

        public int Line()
        {
            int position = (int)Reader.TokenStartIndex;
            _line += _text[_countedTo..position].Count((byte)'\n');
            _countedTo = position;
            return _line;
        }

        private JsonNode? ReadValue(string path)
        {
            switch (Reader.TokenType)
            {
                case JsonTokenType.StartObject:
                    return ReadObject(path);
                case JsonTokenType.StartArray:
                    var array = new JsonArray();
                    while (Reader.Read() && Reader.TokenType != JsonTokenType.EndArray)
                    {
                        string inner = ManifestPath.Append(path, array.Count.ToString(System.Globalization.CultureInfo.InvariantCulture));
                        Lines[inner] = Line();
                        array.Add(ReadValue(inner));
                    }

                    return array;
                case JsonTokenType.String:
                    // Taken now: half a surrogate pair would throw wherever it is first looked at.
                    return JsonValue.Create(Reader.GetString());
                default:
                    return JsonNode.Parse(ref Reader);
            }
        }
    }
}
