using System.Globalization;
using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>Tells what a received descriptor is, before a reactor depends on it.</summary>
internal static class DescriptorKinds
{
    private const string EventFdLink = "anon_inode:[eventfd]";

    /// <summary>Takes a descriptor as an eventfd, and makes it non-blocking so that no reactor ever waits on it.</summary>
    /// <param name="descriptor">The descriptor; closed if it is none.</param>
    /// <param name="purpose">Names it in the message: <c>the kick of queue 2</c>.</param>
    /// <exception cref="VhostUserException">It is no eventfd.</exception>
    internal static void RequireEventFd(FileDescriptor descriptor, string purpose)
    {
        try
        {
            var link = File.ResolveLinkTarget(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{descriptor.Raw}"), returnFinalTarget: false);
            var name = link is null ? "nothing" : Path.GetFileName(link.FullName);
            if (name != EventFdLink)
            {
                throw new VhostUserException($"{purpose} is no eventfd but '{name}'");
            }

            descriptor.SetNonBlocking(true);
        }
        catch (Exception exception) when (exception is IOException or VhostUserException)
        {
            descriptor.Dispose();
            throw exception as VhostUserException ?? new VhostUserException($"{purpose} cannot be examined: {exception.Message}", exception);
        }
    }
}
