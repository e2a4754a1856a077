using System.Buffers.Binary;
using System.Globalization;

namespace Vhost.Scsi.Conformance;

/// <summary>Runs all rules at a disk. Its content is lost.</summary>
/// <param name="Rules">How many rules were checked.</param>
/// <param name="Commands">With how many commands.</param>
/// <param name="Failures">What is not as it must be.</param>
public sealed record Suite(int Rules, int Commands, IReadOnlyList<string> Failures)
{
    private const uint MinBlocks = 1024;

    /// <summary>Runs it.</summary>
    /// <exception cref="InvalidOperationException">The disk is too small, or does not answer what every disk answers.</exception>
    public static Suite Run(IScsiPort port)
    {
        var counting = new CountingPort(port);
        var facts = DiskFacts.Ask(counting);
        if (facts.BlockCount < MinBlocks)
        {
            throw new InvalidOperationException($"the disk has {facts.BlockCount} blocks; {MinBlocks} are needed");
        }

        var failures = new List<string>();
        var rules = AllRules(facts).ToArray();
        foreach (var rule in rules)
        {
            foreach (var step in rule.Steps)
            {
                if (step.Run(counting) is { } failure)
                {
                    // What follows is about another state of the disk than the one that it is in.
                    failures.Add($"{rule.Section}, {rule.Text}: {failure}");
                    break;
                }
            }
        }

        CheckUsage(counting, facts, failures);
        return new Suite(rules.Length + facts.Operations.Count, counting.Count, failures);
    }

    /// <summary>The rules for a disk.</summary>
    public static IEnumerable<Rule> AllRules(DiskFacts facts)
        => [.. StartUpRules.For(facts), .. PrimaryRules.For(facts), .. BlockRules.For(facts), .. ModeRules.For(facts), .. ReservationRules.For(facts), .. CopyRules.For(facts)];

    // SPC-4, section 6.34: the usage data say which bits a command looks at. Every other bit is reserved or not supported, and must be zero.
    private static void CheckUsage(CountingPort port, DiskFacts facts, List<string> failures)
    {
        foreach (var (code, serviceAction) in facts.Operations)
        {
            var query = string.Create(CultureInfo.InvariantCulture, $"A3 0C {(serviceAction < 0 ? 1 : 2):X2} {code:X2} {Math.Max(0, serviceAction):X4} 00000100 00 00");
            var answer = port.Send(Convert.FromHexString(query.Replace(" ", "", StringComparison.Ordinal)), [], 256);
            if (answer.Status != 0 || answer.DataIn.Length < 10 || (answer.DataIn[1] & 7) != 3)
            {
                failures.Add($"SPC-4 6.34.3, operation code {code:X2} is listed and not described: {answer}");
                continue;
            }

            var usage = answer.DataIn.AsSpan(4, BinaryPrimitives.ReadUInt16BigEndian(answer.DataIn.AsSpan(2)));
            if (usage[0] != code)
            {
                failures.Add($"SPC-4 6.34.3, the usage data of {code:X2} begin with {usage[0]:X2}");
            }

            for (var index = 1; index < usage.Length; index++)
            {
                for (var bit = 0; bit < 8; bit++)
                {
                    if ((usage[index] & (1 << bit)) != 0 || (serviceAction >= 0 && index == 1 && bit < 5))
                    {
                        continue;
                    }

                    var cdb = new byte[usage.Length];
                    cdb[0] = code;
                    cdb[1] = (byte)Math.Max(0, serviceAction);
                    cdb[index] |= (byte)(1 << bit);
                    if (Step.BadField(Convert.ToHexString(cdb), index, bit).Run(port) is { } failure)
                    {
                        failures.Add($"SPC-4 6.34.3, bit {bit} of byte {index} of {code:X2} is not used: {failure}");
                    }
                }
            }
        }
    }

    private sealed class CountingPort(IScsiPort port) : IScsiPort
    {
        public int Count { get; private set; }

        public Answer Send(ReadOnlySpan<byte> cdb, ReadOnlySpan<byte> dataOut, int dataInLength)
        {
            Count++;
            return port.Send(cdb, dataOut, dataInLength);
        }
    }
}
