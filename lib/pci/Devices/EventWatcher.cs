using Vhost.Linux;

namespace Vhost.Pci.Devices;

/// <summary>One thread of the process that waits for the rare events of devices: removal requests, and INTx lines of uio.</summary>
internal sealed class EventWatcher
{
    private readonly Epoll _epoll = Epoll.Create();
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, Action> _callbacks = [];
    private ulong _nextToken;

    private EventWatcher() => new Thread(Run) { IsBackground = true, Name = "pci events" }.Start();

    public static EventWatcher Shared { get; } = new();

    /// <summary>Calls back whenever the descriptor is readable. Once the result is disposed no call is under way or follows.</summary>
    public IDisposable Watch(int fd, Action callback)
    {
        lock (_lock)
        {
            ulong token = _nextToken++;
            _callbacks.Add(token, callback);
            _epoll.Add(fd, EpollEvents.In, token);
            return new Registration(this, fd, token);
        }
    }

    private void Run()
    {
        var reports = new EpollEvent[16];
        while (true)
        {
            int count = _epoll.Wait(reports, -1);
            for (int i = 0; i < count; i++)
            {
                lock (_lock)
                {
                    if (_callbacks.TryGetValue(reports[i].Token, out Action? callback))
                    {
                        callback();
                    }
                }
            }
        }
    }

    private sealed class Registration(EventWatcher watcher, int fd, ulong token) : IDisposable
    {
        public void Dispose()
        {
            lock (watcher._lock)
            {
                if (watcher._callbacks.Remove(token))
                {
                    watcher._epoll.Remove(fd);
                }
            }
        }
    }
}
