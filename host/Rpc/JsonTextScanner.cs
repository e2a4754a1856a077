namespace Vhost.Host.Rpc;

/// <summary>What a scan came to.</summary>
internal enum ScanResult
{
    /// <summary>The text goes on.</summary>
    Incomplete,

    /// <summary>A text is complete.</summary>
    Complete,

    /// <summary>No JSON object or array begins here, or it nests too deep.</summary>
    Invalid,
}

/// <summary>
/// Finds the ends of JSON objects and arrays that follow each other without a delimiter. It counts brackets outside strings; whether the text is
/// right in itself is the parser's to find. Each byte is looked at once.
/// </summary>
internal struct JsonTextScanner
{
    /// <summary>How deep a text may nest, as in SPDK.</summary>
    internal const int MaxDepth = 64;

    private int _depth;
    private bool _isInString;
    private bool _isEscaped;

    /// <summary>Whether a text has begun and not ended.</summary>
    internal readonly bool IsWithin => _depth > 0;

    /// <summary>Looks at the next bytes.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <param name="consumed">How many belong to the text, or to the space before it.</param>
    internal ScanResult Scan(ReadOnlySpan<byte> bytes, out int consumed)
    {
        for (consumed = 0; consumed < bytes.Length;)
        {
            var value = bytes[consumed++];
            if (_isInString)
            {
                if (_isEscaped)
                {
                    _isEscaped = false;
                }
                else if (value == '\\')
                {
                    _isEscaped = true;
                }
                else if (value == '"')
                {
                    _isInString = false;
                }

                continue;
            }

            switch (value)
            {
                case (byte)'{' or (byte)'[':
                    if (++_depth > MaxDepth)
                    {
                        return ScanResult.Invalid;
                    }

                    break;
                case (byte)'}' or (byte)']':
                    if (--_depth <= 0)
                    {
                        return _depth == 0 ? ScanResult.Complete : ScanResult.Invalid;
                    }

                    break;
                case (byte)'"' when _depth > 0:
                    _isInString = true;
                    break;
                default:
                    if (_depth == 0 && value is not ((byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t'))
                    {
                        return ScanResult.Invalid;
                    }

                    break;
            }
        }

        return ScanResult.Incomplete;
    }
}
