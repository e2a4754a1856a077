using System.Runtime.InteropServices;
using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <summary>
/// Threads that make system calls which block: all of them where io_uring is not to be had, else those that it cannot make. They belong to
/// one bdev, so that a hanging disk holds up nobody else's. Started on demand; nothing is allocated per command once the queue has grown.
/// </summary>
/// <param name="bdevName">Names the threads.</param>
internal sealed unsafe class BlockingWorkers(string bdevName)
{
    private const int MaxThreads = 16;
    private const int MaxVectors = 1024;

    private readonly Lock _lock = new();
    private readonly Queue<Work> _queue = new(256);
    private readonly SemaphoreSlim _available = new(0);
    private int _threads;
    private int _idle;
    private bool _stopped;

    /// <summary>Queues a command. Its result reaches the queue by <see cref="ReactorQueue.CompleteFromWorker"/>.</summary>
    /// <param name="queue">Whose slot it is.</param>
    /// <param name="slot">The slot.</param>
    /// <param name="command">What to do.</param>
    public void Enqueue(ReactorQueue queue, int slot, in FileCommand command)
    {
        lock (_lock)
        {
            _queue.Enqueue(new Work(queue, slot, command));
            if (_queue.Count > _idle && _threads < MaxThreads)
            {
                _threads++;
                new Thread(Run) { IsBackground = true, Name = $"file {bdevName}" }.Start();
            }
        }

        _available.Release();
    }

    /// <summary>Takes back the commands of a queue that no thread has begun, and completes them as cancelled.</summary>
    /// <param name="queue">Whose commands.</param>
    /// <param name="channel">Of which of its channels.</param>
    public void Cancel(ReactorQueue queue, int channel)
    {
        lock (_lock)
        {
            for (var left = _queue.Count; left > 0; left--)
            {
                // A command that was taken back leaves its count in the semaphore: a thread wakes for nothing, which is harmless.
                var work = _queue.Dequeue();
                if (work.Queue == queue && queue.ChannelOf(work.Slot) == channel)
                {
                    queue.CompleteFromWorker(work.Slot, -Errno.ECANCELED);
                }
                else
                {
                    _queue.Enqueue(work);
                }
            }
        }
    }

    /// <summary>Ends the threads when they are done with what they do. No command is queued any more.</summary>
    public void Stop()
    {
        lock (_lock)
        {
            _stopped = true;
            _available.Release(MaxThreads);
        }
    }

    private void Run()
    {
        var vectors = (IoVector*)NativeMemory.Alloc(MaxVectors, (nuint)sizeof(IoVector));
        while (true)
        {
            Work work;
            lock (_lock)
            {
                _idle++;
            }

            _available.Wait();
            lock (_lock)
            {
                _idle--;
                if (!_queue.TryDequeue(out work))
                {
                    if (_stopped)
                    {
                        NativeMemory.Free(vectors);
                        return;
                    }

                    continue;
                }

                // The vectors are the submitter's memory, which is certain to be there only as long as the command can be taken back.
                if (work.Command.VectorCount > 0)
                {
                    // SAFETY: a command has at most MaxVectors vectors.
                    NativeMemory.Copy(work.Command.Data, vectors, (nuint)work.Command.VectorCount * (nuint)sizeof(IoVector));
                    work.Command.Data = vectors;
                }
            }

            work.Queue.CompleteFromWorker(work.Slot, work.Command.Execute());
        }
    }

    private record struct Work(ReactorQueue Queue, int Slot, FileCommand Command)
    {
        public FileCommand Command = Command;
    }
}
