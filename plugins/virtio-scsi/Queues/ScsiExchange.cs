using Vhost.Plugins.VirtioScsi.Scsi;

namespace Vhost.Plugins.VirtioScsi.Queues;

/// <summary>A command of the driver's own (INQUIRY and its like) on its way through a request queue. Control path.</summary>
/// <param name="unit">To whom.</param>
/// <param name="cdb">What.</param>
/// <param name="dataInBytes">How much data is expected, at most <see cref="MaxDataBytes"/>.</param>
internal sealed class ScsiExchange(LogicalUnit unit, InitiatorCdb cdb, int dataInBytes)
{
    /// <summary>The most data that an exchange carries.</summary>
    public const int MaxDataBytes = 3072;

    private readonly TaskCompletionSource<(ScsiOutcome, byte[])> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public LogicalUnit Unit { get; } = unit;

    public InitiatorCdb Cdb { get; } = cdb;

    public int DataInBytes { get; } = Math.Min(dataInBytes, MaxDataBytes);

    /// <summary>The outcome and the data that came.</summary>
    public Task<(ScsiOutcome Outcome, byte[] Data)> Result => _done.Task;

    public void Complete(in ScsiOutcome outcome, byte[] data) => _done.TrySetResult((outcome, data));
}
