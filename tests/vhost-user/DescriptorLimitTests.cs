using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

public sealed class DescriptorLimitTests
{
    [Fact]
    public async Task A_front_end_that_comes_while_no_descriptor_is_left_is_served_later()
    {
        await using var harness = await TransportHarness.StartAsync();
        var waiting = new List<FileDescriptor>();
        FrontEndConnection? connection = null;
        var socket = UnixSocket.Create();
        try
        {
            // The runtime starts its timer's thread with the first delay, which takes descriptors.
            await Task.Delay(1, TestContext.Current.CancellationToken);

            // Take all there are; connecting needs none on this side any more.
            TakeAll(waiting);
            socket.Connect(harness.Socket);
            await TransportHarness.WaitForAsync(
                () => harness.Logger.Lines.Any(line => line.Text.Contains("could not be accepted", StringComparison.Ordinal)), "the refusal is logged");
        }
        finally
        {
            waiting.ForEach(descriptor => descriptor.Dispose());
        }

        connection = new FrontEndConnection(socket);
        using var owned = connection;
        Assert.NotEqual(0u, connection.AskNumber(FrontEndRequest.GetFeatures));
        Assert.Contains("ulimit -n", Assert.Single(harness.Logger.Errors), StringComparison.Ordinal);
    }

    private static void TakeAll(List<FileDescriptor> descriptors)
    {
        try
        {
            while (descriptors.Count < 200_000)
            {
                descriptors.Add(EventFd.Create());
            }
        }
        catch (LinuxException exception) when (exception.Error is Errno.EMFILE)
        {
        }
    }
}
