using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>A received message. Owns its descriptors until they are taken; disposing closes the rest.</summary>
internal sealed class VfioUserMessage(VfioUserHeader header, byte[] payload, int[] fds) : IDisposable
{
    public VfioUserHeader Header { get; } = header;

    public byte[] Payload { get; } = payload;

    public int FdCount => fds.Length;

    public FileDescriptor TakeFd(int index)
    {
        int fd = fds[index];
        fds[index] = -1;
        return new FileDescriptor(fd);
    }

    public void Dispose()
    {
        for (int i = 0; i < fds.Length; i++)
        {
            FileDescriptor.CloseRaw(fds[i]);
            fds[i] = -1;
        }
    }
}
