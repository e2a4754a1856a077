using System.Buffers.Binary;
using CsCheck;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

/// <summary>Any sequence of messages, nearly right and wholly wrong ones: nothing leaks and the next front-end is served.</summary>
public sealed class RandomMessageTests
{
    private const int MaxWords = 36;

    private static readonly ulong[] Edges = [0, 1UL << 8, 1UL << 12, 1UL << 16, 1UL << 20, 1UL << 30, 1UL << 32, ulong.MaxValue];

    private static readonly Gen<ulong> Word = Gen.Frequency(
        (4, Gen.ULong[0, 8]),
        (2, Gen.Int[0, 7].Select(i => Edges[i])),
        (1, Gen.ULong));

    private static readonly Gen<Step> Steps = Gen.Select(
        Gen.UInt[0, 45],
        Gen.Frequency((8, Gen.Const(1u)), (4, Gen.Const(9u)), (1, Gen.UInt[0, 31])),
        Word.Array[0, MaxWords],
        Gen.Int[0, 3],
        Gen.Bool,
        (request, flags, words, files, isFitting) => new Step(request, flags, words, files, isFitting));

    [Fact]
    public async Task Any_sequence_of_messages_leaves_nothing_behind()
    {
        await using var harness = await TransportHarness.StartAsync(TimeSpan.FromMilliseconds(500));
        using var file = MemoryFile.Create("any", 1 << 16);
        using var signal = EventFd.Create();
        var (near, far) = UnixSocket.CreatePair();
        using var ownedNear = near;
        using var ownedFar = far;
        using (var first = harness.Connect())
        {
            first.AskNumber(FrontEndRequest.GetFeatures);
        }

        await TransportHarness.WaitForAsync(() => harness.Transport.Status == "listening", "the transport listens");
        Gen.Select(Gen.Bool, Steps.Array[1, 24]).Sample((isNegotiated, steps) =>
        {
            var sessions = harness.Device.Sessions.Count;
            var descriptors = TransportHarness.Descriptors();
            using (var connection = harness.Connect())
            {
                try
                {
                    if (isNegotiated)
                    {
                        TransportHarness.Negotiate(connection);
                    }

                    foreach (var step in steps)
                    {
                        Send(connection, step, [file.Raw, signal.Raw, far.Raw]);
                    }

                    // Whatever came before has been handled when this is answered or refused.
                    connection.Socket.Shutdown();
                }
                catch (LinuxException)
                {
                    // The session ended before the last message was sent.
                }
            }

            SpinWait.SpinUntil(() => harness.Device.Sessions.Count > sessions && harness.Device.Session.IsDisposed && harness.Transport.Status == "listening", 120_000);
            Assert.Equal(sessions + 1, harness.Device.Sessions.Count);
            Assert.Equal("listening", harness.Transport.Status);
            Assert.Equal(0, harness.Registry.RegisteredCount);
            Assert.Empty(harness.Device.Session.Running);
            Assert.Empty(TransportHarness.Descriptors().Except(descriptors));
        }, iter: 300, threads: 1, print: value => string.Join("; ", value.Item2.Select(step => step.ToString())));

        // Whatever ended a session was a named reason, never a fault of the program.
        Assert.DoesNotContain(harness.Logger.Lines, line => line.Text.Contains("fault of this program", StringComparison.Ordinal));
    }

    private static void Send(FrontEndConnection connection, Step step, int[] descriptors)
    {
        var length = step.IsFitting ? FittingLength(step.Request) : step.Words.Length * sizeof(ulong);
        var bytes = new byte[MessageHeader.LengthBytes + length];
        new MessageHeader(step.Request, step.Flags, (uint)length).Write(bytes);
        for (var i = 0; i < length / sizeof(ulong) && step.Words.Length > 0; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(MessageHeader.LengthBytes + (i * sizeof(ulong))), step.Words[i % step.Words.Length]);
        }

        var first = (int)(step.Request % 3);
        connection.SendRaw(bytes, [.. Enumerable.Range(first, step.FileCount).Select(i => descriptors[i % descriptors.Length])]);
    }

    private static int FittingLength(uint request) => (FrontEndRequest)request switch
    {
        FrontEndRequest.SetFeatures or FrontEndRequest.SetProtocolFeatures or FrontEndRequest.SetVringKick or FrontEndRequest.SetVringCall
            or FrontEndRequest.SetVringError or FrontEndRequest.SetStatus or FrontEndRequest.SetVringNum or FrontEndRequest.SetVringBase
            or FrontEndRequest.GetVringBase or FrontEndRequest.SetVringEnable => 8,
        FrontEndRequest.SetVringAddress or FrontEndRequest.AddMemoryRegion or FrontEndRequest.RemoveMemoryRegion => 40,
        FrontEndRequest.SetMemoryTable => 72,
        FrontEndRequest.GetConfig or FrontEndRequest.SetConfig => 24,
        _ => 0,
    };

    private sealed record Step(uint Request, uint Flags, ulong[] Words, int FileCount, bool IsFitting);
}
