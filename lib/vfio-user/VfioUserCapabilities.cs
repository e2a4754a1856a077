using System.Text;
using System.Text.Json;
using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>Capabilities of one side, as VERSION carries them in JSON. A value that was not given has the specification's default.</summary>
public sealed record VfioUserCapabilities
{
    /// <summary>The major version that this library speaks.</summary>
    public const ushort MajorVersion = 0;

    /// <summary>The highest minor version that this library speaks.</summary>
    public const ushort MinorVersion = 1;

    private const int MaxJsonBytes = 16 * 1024;

    /// <summary>Descriptors that the side can receive in one message.</summary>
    public int MaxMessageFds { get; init; } = 1;

    /// <summary>Bytes that one read or write message may carry.</summary>
    public uint MaxDataTransferBytes { get; init; } = 1024 * 1024;

    /// <summary>DMA regions that may exist at a time; null where not given.</summary>
    public uint? MaxDmaMaps { get; init; }

    /// <summary>Page sizes for DMA regions, or'ed; null where not given.</summary>
    public ulong? PageSizes { get; init; }

    /// <summary>Whether REGION_WRITE_MULTI is supported.</summary>
    public bool WriteMultiple { get; init; }

    /// <summary>Encodes the payload of VERSION: two version numbers and the JSON text with its closing NUL.</summary>
    /// <param name="minor">The minor version to state.</param>
    public byte[] Encode(ushort minor)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            writer.WriteStartObject();
            writer.WriteStartObject("capabilities");
            writer.WriteNumber("max_msg_fds", MaxMessageFds);
            writer.WriteNumber("max_data_xfer_size", MaxDataTransferBytes);
            if (MaxDmaMaps is uint maps)
            {
                writer.WriteNumber("max_dma_maps", maps);
            }

            if (PageSizes is ulong sizes)
            {
                writer.WriteNumber("pgsizes", sizes);
            }

            if (WriteMultiple)
            {
                writer.WriteBoolean("write_multiple", true);
            }

            writer.WriteEndObject();
            writer.WriteEndObject();
        }

        byte[] payload = new byte[4 + stream.Length + 1];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16LittleEndian(payload, MajorVersion);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16LittleEndian(payload.AsSpan(2), minor);
        stream.GetBuffer().AsSpan(0, (int)stream.Length).CopyTo(payload.AsSpan(4));
        return payload;
    }

    /// <summary>Decodes and checks the payload of VERSION.</summary>
    /// <param name="payload">The payload.</param>
    /// <param name="minor">The peer's minor version.</param>
    /// <exception cref="VfioUserException">EINVAL: says what is wrong.</exception>
    public static VfioUserCapabilities Decode(ReadOnlySpan<byte> payload, out ushort minor)
    {
        if (payload.Length < 4)
        {
            throw new VfioUserException(Errno.EINVAL, $"VERSION has {payload.Length} bytes instead of 4 or more");
        }

        ushort major = System.Buffers.Binary.BinaryPrimitives.ReadUInt16LittleEndian(payload);
        minor = System.Buffers.Binary.BinaryPrimitives.ReadUInt16LittleEndian(payload[2..]);
        if (major != MajorVersion)
        {
            throw new VfioUserException(Errno.EINVAL, $"the peer speaks vfio-user {major}.{minor}, this side {MajorVersion}.{MinorVersion}");
        }

        ReadOnlySpan<byte> text = payload[4..];
        if (text.IsEmpty)
        {
            return new VfioUserCapabilities();
        }

        if (text[^1] != 0 || text.Length > MaxJsonBytes)
        {
            throw new VfioUserException(Errno.EINVAL, $"the JSON text of VERSION has no closing NUL or is longer than {MaxJsonBytes} bytes");
        }

        try
        {
            using JsonDocument document = JsonDocument.Parse(Encoding.UTF8.GetString(text.TrimEnd((byte)0)), new JsonDocumentOptions { MaxDepth = 8 });
            return Decode(document.RootElement);
        }
        catch (JsonException e)
        {
            throw new VfioUserException(Errno.EINVAL, $"the JSON text of VERSION is malformed: {e.Message}", e);
        }
    }

    private static VfioUserCapabilities Decode(JsonElement root)
    {
        var result = new VfioUserCapabilities();
        if (root.ValueKind != JsonValueKind.Object)
        {
            throw new VfioUserException(Errno.EINVAL, "the JSON text of VERSION is no object");
        }

        if (!root.TryGetProperty("capabilities", out JsonElement capabilities))
        {
            return result;
        }

        if (capabilities.ValueKind != JsonValueKind.Object)
        {
            throw new VfioUserException(Errno.EINVAL, "capabilities of VERSION is no object");
        }

        if (Number(capabilities, "max_msg_fds", 1024) is ulong fds)
        {
            result = result with { MaxMessageFds = (int)fds };
        }

        if (Number(capabilities, "max_data_xfer_size", uint.MaxValue) is ulong bytes)
        {
            result = result with { MaxDataTransferBytes = (uint)bytes };
        }

        if (Number(capabilities, "max_dma_maps", uint.MaxValue) is ulong maps)
        {
            result = result with { MaxDmaMaps = (uint)maps };
        }

        if (Number(capabilities, "pgsizes", ulong.MaxValue) is ulong sizes)
        {
            result = result with { PageSizes = sizes };
        }

        if (capabilities.TryGetProperty("write_multiple", out JsonElement multiple))
        {
            if (multiple.ValueKind is not (JsonValueKind.True or JsonValueKind.False))
            {
                throw new VfioUserException(Errno.EINVAL, "write_multiple of VERSION is no boolean");
            }

            result = result with { WriteMultiple = multiple.GetBoolean() };
        }

        return result;
    }

    private static ulong? Number(JsonElement capabilities, string name, ulong max)
    {
        if (!capabilities.TryGetProperty(name, out JsonElement element))
        {
            return null;
        }

        return element.ValueKind == JsonValueKind.Number && element.TryGetUInt64(out ulong value) && value <= max
            ? value
            : throw new VfioUserException(Errno.EINVAL, $"{name} of VERSION is no number from 0 to {max}");
    }
}
