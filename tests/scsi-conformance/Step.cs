namespace Vhost.Scsi.Conformance;

/// <summary>A command of a rule, and what its answer has to be.</summary>
/// <param name="Cdb">The CDB in hexadecimal.</param>
public sealed record Step(string Cdb)
{
    private static readonly char[] Separators = [' '];

    /// <summary>What is sent.</summary>
    public byte[] Out { get; init; } = [];

    /// <summary>Room for what comes back.</summary>
    public int In { get; init; }

    /// <summary>The status.</summary>
    public int Status { get; init; }

    /// <summary>Sense key, and additional sense code with qualifier.</summary>
    public (int Key, int Additional)? Sense { get; init; }

    /// <summary>The field pointer.</summary>
    public (int Byte, int Bit, bool IsInCdb)? Field { get; init; }

    /// <summary>The INFORMATION field.</summary>
    public ulong? Information { get; init; }

    /// <summary>How many bytes come back; -1 for any number. What is not used of the room is the residual.</summary>
    public int Length { get; init; } = -1;

    /// <summary>How what comes back begins: hexadecimal digits, or '?' for any.</summary>
    public string? Begin { get; init; }

    /// <summary>All that comes back.</summary>
    public byte[]? Data { get; init; }

    /// <summary>A command that succeeds.</summary>
    /// <param name="cdb">The CDB.</param>
    /// <param name="length">How many bytes come back.</param>
    /// <param name="begin">How they begin.</param>
    /// <param name="room">Room for them; by default that of <paramref name="length"/>.</param>
    public static Step Reads(string cdb, int length, string? begin = null, int room = -1)
        => new(cdb) { In = room < 0 ? Math.Max(0, length) : room, Length = length, Begin = begin };

    /// <summary>A command that succeeds, and sends data.</summary>
    public static Step Writes(string cdb, byte[] data) => new(cdb) { Out = data };

    /// <summary>A command that succeeds and whose data are known.</summary>
    public static Step ReadsBack(string cdb, byte[] data) => new(cdb) { In = data.Length, Length = data.Length, Data = data };

    /// <summary>A command that succeeds without data.</summary>
    public static Step Good(string cdb) => new(cdb);

    /// <summary>A command that ends with CHECK CONDITION.</summary>
    public static Step Fails(string cdb, int key, int additional, byte[]? data = null, int room = 0)
        => new(cdb) { Status = 2, Sense = (key, additional), Out = data ?? [], In = room };

    /// <summary>A command with a field in its CDB that is not valid.</summary>
    public static Step BadField(string cdb, int index, int bit = -1, byte[]? data = null, int room = 0)
        => Fails(cdb, 5, 0x2400, data, room) with { Field = (index, bit, true) };

    /// <summary>A command with a field in its parameter list that is not valid.</summary>
    public static Step BadParameter(string cdb, int index, int bit, byte[] data)
        => Fails(cdb, 5, 0x2600, data) with { Field = (index, bit, false) };

    /// <summary>A command that conflicts with a reservation.</summary>
    public static Step Conflicts(string cdb, byte[]? data = null, int room = 0) => new(cdb) { Status = 0x18, Out = data ?? [], In = room };

    /// <summary>Sends it, and says what is wrong with the answer; null if nothing is.</summary>
    public string? Run(IScsiPort port)
    {
        var answer = port.Send(Convert.FromHexString(string.Concat(Cdb.Split(Separators))), Out, In);
        var wrong = answer.Status != Status ? $"status {Status:X2}"
            : Sense is { } sense && sense != (answer.Key, answer.Additional) ? $"sense {sense.Key:X}/{sense.Additional:X4}"
            : Field is not null && Field != answer.Field ? $"field {Field}"
            : Information is not null && Information != answer.Information ? $"information {Information}"
            : Length >= 0 && Length != answer.DataIn.Length ? $"{Length} bytes"
            : Status == 0 && answer.Residual != Math.Max(In, Out.Length) - (In > 0 ? answer.DataIn.Length : Out.Length) ? "another residual"
            : Begin is not null && !Matches(answer.DataIn) ? $"data {Begin}"
            : Data is not null && !answer.DataIn.AsSpan().SequenceEqual(Data) ? "other data"
            : null;
        return wrong is null ? null : $"[{Cdb}] expected {wrong}; got {answer}";
    }

    private bool Matches(byte[] data)
    {
        var digits = Convert.ToHexString(data);
        var expected = string.Concat(Begin!.Split(Separators)).ToUpperInvariant();
        if (digits.Length < expected.Length)
        {
            return false;
        }

        for (var i = 0; i < expected.Length; i++)
        {
            if (expected[i] != '?' && expected[i] != digits[i])
            {
                return false;
            }
        }

        return true;
    }
}
