namespace Vhost.Abstractions;

/// <summary>How a block request ended.</summary>
public enum BlockStatus : byte
{
    /// <summary>All of it was done.</summary>
    Success = 0,

    /// <summary>The medium or the backend failed; the content of the blocks of a failed write is undefined.</summary>
    IoError = 1,

    /// <summary>The range lies outside the bdev, or the data's length does not fit the range.</summary>
    OutOfRange = 2,

    /// <summary>The bdev cannot do this operation.</summary>
    Unsupported = 3,

    /// <summary>The bdev is read-only.</summary>
    ReadOnly = 4,

    /// <summary>There is no space left behind a thinly provisioned bdev.</summary>
    NoSpace = 5,

    /// <summary>A compare found a difference; <see cref="BlockRequest.Information"/> has the byte offset of the first one.</summary>
    Miscompare = 6,

    /// <summary>The bdev is gone or not there yet.</summary>
    NoDevice = 7,

    /// <summary>The request was aborted before it had any effect that matters.</summary>
    Aborted = 8,

    /// <summary>The bdev is out of resources for the moment; the request had no effect and may be repeated.</summary>
    Busy = 9,

    /// <summary>The backend did not answer in time.</summary>
    TimedOut = 10,

    /// <summary>Another initiator holds a reservation.</summary>
    ReservationConflict = 11,
}
