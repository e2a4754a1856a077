using System.Diagnostics;

namespace Vhost.Bench;

/// <content>A light load: a round of requests now and then.</content>
internal sealed partial class LoadGenerator
{
    private void LoadPaced(long end)
    {
        // What the warm-up left under way is taken back first, so that each round starts from rest.
        Drain();
        _latencies.Clear();
        var period = (long)(Stopwatch.Frequency / _options.RatePerSecond);
        for (var due = Stopwatch.GetTimestamp() + period; due < end; due += period)
        {
            while (Stopwatch.GetTimestamp() < due)
            {
                Thread.SpinWait(10);
            }

            for (var queue = 0; queue < _queues.Length; queue++)
            {
                for (var slot = 0; slot < _options.QueueDepth; slot++)
                {
                    Submit(queue, slot, Stopwatch.GetTimestamp());
                }

                _queues[queue].Publish();
            }

            Drain();
        }
    }
}
