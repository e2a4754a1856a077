using System.Buffers.Binary;
using System.Text;

namespace Vhost.Operate.Tests;

/// <summary>One batch of metrics as the OpenTelemetry protocol carries it (ExportMetricsServiceRequest, metrics.proto), as far as tests look.</summary>
internal sealed class OtlpMetrics
{
    private readonly List<Point> _points = [];

    /// <summary>What the resource says of itself: service.name and the like.</summary>
    public Dictionary<string, string> Resource { get; } = [];

    /// <summary>All points of all instruments.</summary>
    public IReadOnlyList<Point> Points => _points;

    /// <summary>The one point of an instrument with a set of labels among its own, or null.</summary>
    public Point? Find(string name, params (string Key, string Value)[] labels) =>
        _points.SingleOrDefault(point => point.Name == name && labels.All(label => point.Labels.TryGetValue(label.Key, out var value) && value == label.Value));

    public static OtlpMetrics Parse(byte[] request)
    {
        var metrics = new OtlpMetrics();
        foreach (var (_, resourceMetrics) in Messages(request, 1))
        {
            foreach (var (number, part) in Messages(resourceMetrics, 1, 2))
            {
                if (number == 1)
                {
                    metrics.ReadLabels(part, 1, metrics.Resource);
                    continue;
                }

                foreach (var (_, metric) in Messages(part, 2))
                {
                    metrics.ReadMetric(metric);
                }
            }
        }

        return metrics;
    }

    private void ReadMetric(byte[] metric)
    {
        string Text(int field) => Encoding.UTF8.GetString(Messages(metric, field).Select(message => message.Content).SingleOrDefault([]));

        // gauge = 5, sum = 7; histograms are told as percentiles.
        foreach (var (kind, data) in Messages(metric, 5, 7))
        {
            // aggregation_temporality = 2 (2: cumulative), is_monotonic = 3
            var isCounter = kind == 7 && Fields(data).Any(field => field is { Number: 2, Value: 2 }) && Fields(data).Any(field => field is { Number: 3, Value: 1 });
            foreach (var (_, point) in Messages(data, 1))
            {
                var labels = new Dictionary<string, string>();
                ReadLabels(point, 7, labels);
                var value = Fields(point).Single(field => field.Number is 4 or 6);
                _points.Add(new Point(Text(1), Text(3), isCounter, labels, value.Number == 4 ? BitConverter.UInt64BitsToDouble(value.Value) : (long)value.Value));
            }
        }
    }

    private void ReadLabels(byte[] message, int field, Dictionary<string, string> labels)
    {
        foreach (var (_, label) in Messages(message, field))
        {
            var key = Encoding.UTF8.GetString(Messages(label, 1).Single().Content);
            var value = Fields(Messages(label, 2).Single().Content).Single();
            // string_value = 1, bool_value = 2, int_value = 3, double_value = 4
            labels.Add(key, value.Number switch
            {
                1 => Encoding.UTF8.GetString(value.Content),
                4 => BitConverter.UInt64BitsToDouble(value.Value).ToString(System.Globalization.CultureInfo.InvariantCulture),
                _ => ((long)value.Value).ToString(System.Globalization.CultureInfo.InvariantCulture),
            });
        }
    }

    private static IEnumerable<(int Number, byte[] Content)> Messages(byte[] message, params int[] numbers) =>
        Fields(message).Where(field => field.Wire == 2 && numbers.Contains(field.Number)).Select(field => (field.Number, field.Content));

    /// <summary>The fields of a protobuf message: numbers in <c>Value</c>, what has a length in <c>Content</c>.</summary>
    private static List<(int Number, int Wire, ulong Value, byte[] Content)> Fields(byte[] message)
    {
        var fields = new List<(int, int, ulong, byte[])>();
        int at = 0;
        while (at < message.Length)
        {
            var key = Varint();
            var (number, wire) = ((int)(key >> 3), (int)(key & 7));
            switch (wire)
            {
                case 0:
                    fields.Add((number, wire, Varint(), []));
                    break;
                case 1:
                    fields.Add((number, wire, BinaryPrimitives.ReadUInt64LittleEndian(message.AsSpan(at)), []));
                    at += 8;
                    break;
                case 2:
                    int length = (int)Varint();
                    fields.Add((number, wire, 0, message[at..(at + length)]));
                    at += length;
                    break;
                case 5:
                    fields.Add((number, wire, BinaryPrimitives.ReadUInt32LittleEndian(message.AsSpan(at)), []));
                    at += 4;
                    break;
                default:
                    Assert.Fail($"wire type {wire} at {at}");
                    break;
            }
        }

        return fields;

        ulong Varint()
        {
            ulong value = 0;
            for (int shift = 0; ; shift += 7)
            {
                value |= (ulong)(message[at] & 0x7f) << shift;
                if (message[at++] < 0x80)
                {
                    return value;
                }
            }
        }
    }

    /// <summary>A point of an instrument.</summary>
    /// <param name="Name">The instrument's name.</param>
    /// <param name="Unit">Its unit.</param>
    /// <param name="IsCounter">Whether it is a sum that only grows, from the start on.</param>
    /// <param name="Labels">The point's labels.</param>
    /// <param name="Value">Its value.</param>
    internal sealed record Point(string Name, string Unit, bool IsCounter, IReadOnlyDictionary<string, string> Labels, double Value);
}
