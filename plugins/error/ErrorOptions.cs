using System.ComponentModel;
using System.ComponentModel.DataAnnotations;

namespace Vhost.Plugins.Error;

/// <summary>What a rule does with a request.</summary>
public enum ErrorAction
{
    /// <summary>It ends with a status, without reaching the bdev below.</summary>
    Fail,

    /// <summary>It never ends, unless it is aborted.</summary>
    Hang,

    /// <summary>It is done, but a byte of its data is wrong afterwards.</summary>
    Corrupt,
}

/// <summary>Which requests a rule is for.</summary>
public enum ErrorOperation
{
    /// <summary>All.</summary>
    All,

    /// <summary>Reads and compares.</summary>
    Read,

    /// <summary>Writes, also those of zeroes and after a compare.</summary>
    Write,

    /// <summary>Flushes, and writes with force unit access.</summary>
    Flush,

    /// <summary>Discards.</summary>
    Discard,
}

/// <summary>How a request fails.</summary>
public enum ErrorStatus
{
    /// <summary>A medium error.</summary>
    IoError,

    /// <summary>No space left.</summary>
    NoSpace,

    /// <summary>The backend did not answer in time.</summary>
    TimedOut,

    /// <summary>Out of resources; the driver tries again.</summary>
    Busy,

    /// <summary>The bdev is read-only.</summary>
    ReadOnly,

    /// <summary>The bdev cannot do it.</summary>
    Unsupported,
}

/// <summary>The manifest's section of an error bdev.</summary>
public sealed class ErrorOptions
{
    /// <summary>The bdev below.</summary>
    [Required]
    [Description("The bdev whose requests are disturbed.")]
    public string Bdev { get; set; } = "";

    /// <summary>The rules.</summary>
    [Description("What is disturbed; the first rule that fits a request counts. Without rules nothing is.")]
    public List<ErrorRuleOptions> Rules { get; set; } = [];

    /// <summary>The sequence of choices.</summary>
    [Description("Begins the sequence of choices for percent; the same number gives the same choices on each reactor.")]
    public int Seed { get; set; } = 1;
}

/// <summary>One rule.</summary>
public sealed class ErrorRuleOptions
{
    /// <summary>Which requests.</summary>
    [Description("all, read (and compare), write (and writes of zeroes), flush (and forced writes) or discard.")]
    public ErrorOperation Operation { get; set; }

    /// <summary>What happens.</summary>
    [Description("fail (with status, nothing is done), hang (no answer until an abort) or corrupt (done, but a byte is wrong: after a read in memory, of a write on the disk).")]
    public ErrorAction Action { get; set; }

    /// <summary>How it fails.</summary>
    [Description("How a request fails: ioError, noSpace, timedOut, busy, readOnly or unsupported.")]
    public ErrorStatus Status { get; set; }

    /// <summary>How many of the requests that fit.</summary>
    [Range(0, 100)]
    [Description("How many percent of the requests that fit are disturbed.")]
    public double Percent { get; set; } = 100;

    /// <summary>How many requests at most.</summary>
    [Range(0, long.MaxValue)]
    [Description("After so many requests the rule is spent; 0 for never.")]
    public long Count { get; set; }

    /// <summary>How many requests pass before.</summary>
    [Range(0, long.MaxValue)]
    [Description("So many requests that fit pass before the first one is disturbed.")]
    public long Skip { get; set; }

    /// <summary>First block.</summary>
    [Range(0, long.MaxValue)]
    [Description("First block of the range that is disturbed. Flushes have no range.")]
    public long StartBlock { get; set; }

    /// <summary>Number of blocks.</summary>
    [Range(0, long.MaxValue)]
    [Description("Number of blocks of the range; 0 for all from startBlock on.")]
    public long BlockCount { get; set; }

    /// <summary>How many requests have to be under way.</summary>
    [Range(0, 1 << 30)]
    [Description("Only requests that come while at least so many others of their reactor are under way below are disturbed; 0 for all.")]
    public int QueueDepth { get; set; }

    /// <summary>Which byte of a request's data is corrupted.</summary>
    [Range(0, 1L << 40)]
    [Description("Which byte of a request's data is corrupted; shorter requests are done as they are.")]
    public long CorruptOffset { get; set; }

    /// <summary>What is wrong with it.</summary>
    [Range(1, 255)]
    [Description("The bits of that byte that are inverted.")]
    public int CorruptMask { get; set; } = 255;

    /// <summary>Counts anew.</summary>
    [Description("When this number changes while vhostd runs, the rule counts anew.")]
    public int Round { get; set; }

    /// <summary>Whether another rule says the same.</summary>
    internal bool Says(ErrorRuleOptions other) =>
        (Operation, Action, Status, Percent, Count, Skip, StartBlock, BlockCount, QueueDepth, CorruptOffset, CorruptMask, Round)
        == (other.Operation, other.Action, other.Status, other.Percent, other.Count, other.Skip, other.StartBlock, other.BlockCount, other.QueueDepth, other.CorruptOffset, other.CorruptMask, other.Round);
}
