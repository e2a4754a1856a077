using System.Buffers.Binary;
using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Plugins.VirtioScsi.Queues;
using Vhost.Plugins.VirtioScsi.Scsi;

namespace Vhost.Plugins.VirtioScsi.Controller;

/// <summary>The disks behind the HBA as published bdevs; finds them by asking every target. HBA thread only.</summary>
internal sealed class DiskSet(BdevSourceContext context, IReadOnlyList<RequestQueue> queues, Func<Dictionary<string, string>> describeHba, Func<string?> findObstacle)
{
    private const int Attempts = 5;
    private const int TargetsAtOnce = 16;
    private const int MaxLunsPerTarget = 256;
    private static readonly TimeSpan AnswerSlice = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(30);
    private readonly PublishedBdevs<LogicalUnit, VirtioScsiDisk> _published = new(context);

    /// <summary>How many are published.</summary>
    public int Count => _published.Count;

    /// <summary>Makes what is published equal to what some targets have.</summary>
    /// <param name="targets">Which targets.</param>
    /// <param name="maxLun">The greatest LUN of the HBA.</param>
    /// <param name="cancellationToken">Ends the scan early; what was found stays.</param>
    public void Scan(IEnumerable<int> targets, int maxLun, CancellationToken cancellationToken)
    {
        // An HBA may have 256 targets, most of them empty, and an answer may take as long as it takes to wake two threads: several are asked at a time.
        foreach (var group in targets.Chunk(TargetsAtOnce))
        {
            ScsiExchange[] lists = [.. group.Select(target => Send(new LogicalUnit(target, 0), InitiatorCdb.ReportLuns(ScsiExchange.MaxDataBytes), ScsiExchange.MaxDataBytes))];
            for (var i = 0; i < group.Length; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                ScanTarget(group[i], maxLun, lists[i]);
            }
        }
    }

    /// <summary>Withdraws all: the HBA is going or gone.</summary>
    public void WithdrawAll(string reason) => _published.WithdrawAll(reason);

    private void ScanTarget(int target, int maxLun, ScsiExchange list)
    {
        var units = ListUnits(target, maxLun, list);
        foreach (var unit in _published.Keys.Where(unit => unit.Target == target && !units.Contains(unit)))
        {
            _published.Withdraw(unit, "the disk is gone");
        }

        foreach (var unit in units)
        {
            var identity = Identify(unit, out var refusal);
            if (identity is null)
            {
                if (refusal is not null)
                {
                    context.Logger.LogError(VirtioScsiEvents.DiskRefused, "target {Target}, LUN {Lun} is not served: {Reason}", unit.Target, unit.Lun, refusal);
                }

                _published.Withdraw(unit, refusal ?? "the disk is gone");
                continue;
            }

            Publish(unit, identity);
        }
    }

    private void Publish(LogicalUnit unit, DiskIdentity identity)
    {
        var disk = _published.Find(unit);
        if (disk is not null && disk.BlockSizeBytes != identity.Info.BlockSizeBytes)
        {
            // A new block size is a new disk: nobody who uses the old one could make sense of it.
            _published.Withdraw(unit, "the disk was formatted with another block size");
            disk = null;
        }

        if (disk is null)
        {
            _published.Publish(unit, new VirtioScsiDisk(unit.BdevName(context.Name), unit, identity, queues, describeHba));
        }
        else if (disk.Info != identity.Info)
        {
            disk.Identity = identity;
            _published.NotifyChanged(disk);
        }
    }

    private HashSet<LogicalUnit> ListUnits(int target, int maxLun, ScsiExchange list)
    {
        var units = new HashSet<LogicalUnit>();
        var lun0 = new LogicalUnit(target, 0);
        var (outcome, data) = Ask(list);
        if (outcome.Response == 3)
        {
            return units; // BAD_TARGET: there is none
        }

        if (outcome.Response != 0)
        {
            throw new ControllerFailure($"target {target} does not answer REPORT LUNS: {outcome.Describe()}");
        }

        if (outcome.Status != 0 || data.Length < 8)
        {
            // A target may lack the command: then LUN 0 is all there is to look at.
            units.Add(lun0);
            return units;
        }

        var listed = (int)Math.Min(BinaryPrimitives.ReadUInt32BigEndian(data), (uint)(data.Length - 8)) / 8;
        for (var i = 0; i < Math.Min(listed, MaxLunsPerTarget); i++)
        {
            if (LogicalUnit.FromReport(target, data.AsSpan(8 + (8 * i), 8)) is { } unit && unit.Lun <= maxLun)
            {
                units.Add(unit);
            }
        }

        return units;
    }

    private DiskIdentity? Identify(LogicalUnit unit, out string? refusal)
    {
        refusal = null;
        var (outcome, inquiry) = Ask(unit, InitiatorCdb.Inquiry(null, 96), 96);
        if (outcome.Response != 0 || outcome.Status != 0 || !DiskIdentity.IsDisk(inquiry))
        {
            if (inquiry.Length < 36 && outcome is { Response: 0, Status: 0 })
            {
                refusal = $"its INQUIRY data are cut short ({inquiry.Length} bytes)";
            }

            return null;
        }

        // A disk that just appeared may report unit attentions and become ready first.
        Ask(unit, InitiatorCdb.TestUnitReady(), 0);
        var (status, capacity) = Ask(unit, InitiatorCdb.ReadCapacity16(32), 32);
        if (status.Status != 0 || status.Response != 0)
        {
            (status, capacity) = Ask(unit, InitiatorCdb.ReadCapacity10(), 8);
        }

        if (status.Status != 0 || status.Response != 0)
        {
            refusal = $"its capacity cannot be read: {status.Describe()}";
            return null;
        }

        var pages = ReadPage(unit, 0x00);
        byte[] Page(byte page) => pages.AsSpan(Math.Min(4, pages.Length)).Contains(page) ? ReadPage(unit, page) : [];
        var (modeStatus, caching) = Ask(unit, InitiatorCdb.ModeSense6(0x08, 64), 64);
        return DiskIdentity.Decode(
            inquiry, capacity, Page(0x80), Page(0xb0), Page(0xb2), Page(0xb1), modeStatus is { Status: 0, Response: 0 } ? caching : [], out refusal);
    }

    private byte[] ReadPage(LogicalUnit unit, byte page)
    {
        var (outcome, data) = Ask(unit, InitiatorCdb.Inquiry(page, 252), 252);
        if (outcome.Status != 0 || outcome.Response != 0 || data.Length < 4 || data[1] != page)
        {
            return [];
        }

        var length = 4 + BinaryPrimitives.ReadUInt16BigEndian(data.AsSpan(2));
        return data.Length > length ? data[..length] : data;
    }

    private (ScsiOutcome Outcome, byte[] Data) Ask(LogicalUnit unit, InitiatorCdb cdb, int dataInBytes) => Ask(Send(unit, cdb, dataInBytes));

    // Repeats what was put off: a unit attention, a target that is becoming ready.
    private (ScsiOutcome Outcome, byte[] Data) Ask(ScsiExchange exchange)
    {
        for (var attempt = 1; ; attempt++)
        {
            var (outcome, data) = Await(exchange);
            // Less data than asked for is usual here and no failure.
            var judged = outcome;
            judged.ResidualBytes = 0;
            if (!judged.Judge().CanRetry || attempt == Attempts)
            {
                return (outcome, data);
            }

            if (attempt > 1)
            {
                Task.Delay(50 << attempt).Wait();
            }

            exchange = Send(exchange.Unit, exchange.Cdb, exchange.DataInBytes);
        }
    }

    private ScsiExchange Send(LogicalUnit unit, InitiatorCdb cdb, int dataInBytes)
    {
        var exchange = new ScsiExchange(unit, cdb, dataInBytes);
        var queue = queues[0];
        queue.Reactor.Post(static state => { var (to, what) = ((RequestQueue, ScsiExchange))state!; to.Submit(what); }, (queue, exchange));
        return exchange;
    }

    private (ScsiOutcome Outcome, byte[] Data) Await(ScsiExchange exchange)
    {
        var start = Stopwatch.GetTimestamp();
        while (!exchange.Result.Wait(AnswerSlice))
        {
            if (findObstacle() is { } obstacle)
            {
                throw new ControllerFailure($"target {exchange.Unit.Target}, LUN {exchange.Unit.Lun}: command 0x{exchange.Cdb[0]:x2} is given up: {obstacle}");
            }

            if (Stopwatch.GetElapsedTime(start) >= AnswerLimit)
            {
                throw new ControllerFailure(
                    $"target {exchange.Unit.Target}, LUN {exchange.Unit.Lun}: no answer to command 0x{exchange.Cdb[0]:x2} within {AnswerLimit.TotalSeconds} s");
            }
        }

        return exchange.Result.Result;
    }
}
