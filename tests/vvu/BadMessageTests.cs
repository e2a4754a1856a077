using System.Buffers.Binary;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;

namespace Vhost.Vvu.Tests;

/// <summary>A hostile other VM: each wrong message ends its connection with a reason, and the next VM is served.</summary>
public sealed class BadMessageTests
{
    public enum Bad
    {
        QueueIndex,
        BaseIndex,
        AddressIndex,
        EnableIndex,
        ShortVring,
        KickWithoutDescriptor,
        KickNoEventFd,
        CallNoEventFd,
        ErrorNoEventFd,
        TooManyRegions,
        RegionsWithoutDescriptors,
        ShortTable,
        EmptyRegion,
        WrappingRegion,
        RegionPastFile,
        RegionNoFile,
        OverlappingRegions,
        ForeignRegionPastBar,
        UnknownRegionRemoved,
        ShortSlot,
        BackendNoSocket,
        LogNotNegotiated,
        InFlightNotNegotiated,
        LogNoFile,
        LogWithoutDescriptor,
        LogPastFile,
        LogTooLong,
        LogEmpty,
        LogMisaligned,
        ShortLog,
        InFlightNoFile,
        InFlightWithoutDescriptor,
        InFlightPastFile,
        InFlightTooLong,
        ShortInFlight,
        DescriptorWhereNone,
        WrongVersion,
        HugePayload,
        ReplyFlag,
        UnknownRequest,
        ShortFeatures,
        FeaturesNotOffered,
    }

    public static TheoryData<Bad, bool> Cases()
    {
        var cases = new TheoryData<Bad, bool>();
        foreach (var bad in Enum.GetValues<Bad>())
        {
            cases.Add(bad, false);
            cases.Add(bad, true);
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_wrong_message_ends_the_connection_and_nothing_else(Bad bad, bool isPublished)
    {
        await using var harness = await VvuHarness.StartAsync(isPublished: isPublished);
        using (var connection = harness.ConnectRaw())
        {
            connection.AskNumber(FrontEndRequest.GetFeatures);
            Send(bad, connection);
            connection.WaitClosed();
        }

        Assert.Contains(harness.DeviceLines, line => line.Contains("closed:", StringComparison.Ordinal));
        using var next = harness.Connect(isScsi: true);
        var requests = new VirtioScsiRequests(next, 1, 4096);
        Assert.True(requests.Execute(next.RequestQueue(0), 0, isWrite: true, 0, 4096), requests.DescribeResult(0));
    }

    private static void Send(Bad bad, FrontEndConnection connection)
    {
        using var memory = MemoryFile.Create("bad", 1 << 20);
        using var eventFd = EventFd.Create();
        int file = memory.Raw;
        switch (bad)
        {
            case Bad.QueueIndex:
                connection.Send(FrontEndRequest.SetVringNum, Vring(5000, 64));
                break;
            case Bad.BaseIndex:
                connection.Send(FrontEndRequest.GetVringBase, Vring(uint.MaxValue, 0));
                break;
            case Bad.AddressIndex:
                connection.Send(FrontEndRequest.SetVringAddress, [0xff, 0xff, 0xff, 0x7f, .. new byte[36]]);
                break;
            case Bad.EnableIndex:
                connection.Send(FrontEndRequest.SetVringEnable, Vring(1024, 1));
                break;
            case Bad.ShortVring:
                connection.Send(FrontEndRequest.SetVringBase, [1, 0]);
                break;
            case Bad.KickWithoutDescriptor:
                connection.Send(FrontEndRequest.SetVringKick, Number(0));
                break;
            case Bad.KickNoEventFd:
                connection.Send(FrontEndRequest.SetVringKick, Number(0), file);
                break;
            case Bad.CallNoEventFd:
                connection.Send(FrontEndRequest.SetVringCall, Number(0), file);
                break;
            case Bad.ErrorNoEventFd:
                connection.Send(FrontEndRequest.SetVringError, Number(0), file);
                break;
            case Bad.TooManyRegions:
                connection.Send(FrontEndRequest.SetMemoryTable, Number(9));
                break;
            case Bad.RegionsWithoutDescriptors:
                connection.Send(FrontEndRequest.SetMemoryTable, Table(new RegionDescription(0, 4096, 0x1000, 0)));
                break;
            case Bad.ShortTable:
                connection.Send(FrontEndRequest.SetMemoryTable, Number(2), file, file);
                break;
            case Bad.EmptyRegion:
                connection.Send(FrontEndRequest.SetMemoryTable, Table(new RegionDescription(0, 0, 0x1000, 0)), file);
                break;
            case Bad.WrappingRegion:
                connection.Send(FrontEndRequest.SetMemoryTable, Table(new RegionDescription(ulong.MaxValue - 4096, 1 << 20, 0x1000, 0)), file);
                break;
            case Bad.RegionPastFile:
                connection.Send(FrontEndRequest.SetMemoryTable, Table(new RegionDescription(0, 1 << 20, 0x1000, 4096)), file);
                break;
            case Bad.RegionNoFile:
                connection.Send(FrontEndRequest.SetMemoryTable, Table(new RegionDescription(0, 4096, 0x1000, 0)), eventFd.Raw);
                break;
            case Bad.OverlappingRegions:
                connection.Send(FrontEndRequest.SetMemoryTable, Table(new(0, 8192, 0x1000, 0), new(4096, 4096, 0x9000, 0)), file, file);
                break;
            case Bad.ForeignRegionPastBar:
                using (var huge = MemoryFile.Create("huge", 64UL << 30))
                {
                    connection.Send(FrontEndRequest.SetMemoryTable, Table(new RegionDescription(0, 64UL << 30, 0x1000, 0)), huge.Raw);
                }

                break;
            case Bad.UnknownRegionRemoved:
                connection.Send(FrontEndRequest.RemoveMemoryRegion, [.. new byte[8], .. Table(new RegionDescription(0, 4096, 0x1000, 0)).AsSpan(8)]);
                break;
            case Bad.ShortSlot:
                connection.Send(FrontEndRequest.AddMemoryRegion, Number(0), file);
                break;
            case Bad.BackendNoSocket:
                connection.Send(FrontEndRequest.SetBackendRequestFd, [], file);
                break;
            case Bad.LogNotNegotiated:
                connection.Send(FrontEndRequest.SetLogBase, new byte[16], file);
                break;
            case Bad.InFlightNotNegotiated:
                connection.Send(FrontEndRequest.GetInFlightFd, new byte[24]);
                break;
            case Bad.LogNoFile:
                connection.Send(FrontEndRequest.SetLogBase, Log(512, 0), eventFd.Raw);
                break;
            case Bad.LogWithoutDescriptor:
                connection.Send(FrontEndRequest.SetLogBase, Log(512, 0));
                break;
            case Bad.LogPastFile:
                connection.Send(FrontEndRequest.SetLogBase, Log(512, ulong.MaxValue - 7), file);
                break;
            case Bad.LogTooLong:
                using (var huge = MemoryFile.Create("huge", 1UL << 40))
                {
                    connection.Send(FrontEndRequest.SetLogBase, Log(1UL << 40, 0), huge.Raw);
                }

                break;
            case Bad.LogEmpty:
                connection.Send(FrontEndRequest.SetLogBase, Log(0, 0), file);
                break;
            case Bad.LogMisaligned:
                connection.Send(FrontEndRequest.SetLogBase, Log(512, 3), file);
                break;
            case Bad.ShortLog:
                connection.Send(FrontEndRequest.SetLogBase, Number(512), file);
                break;
            case Bad.InFlightNoFile:
                connection.Send(FrontEndRequest.SetInFlightFd, InFlight(4096, 0), eventFd.Raw);
                break;
            case Bad.InFlightWithoutDescriptor:
                connection.Send(FrontEndRequest.SetInFlightFd, InFlight(4096, 0));
                break;
            case Bad.InFlightPastFile:
                connection.Send(FrontEndRequest.SetInFlightFd, InFlight(1 << 20, 4096), file);
                break;
            case Bad.InFlightTooLong:
                using (var huge = MemoryFile.Create("huge", 1UL << 40))
                {
                    connection.Send(FrontEndRequest.SetInFlightFd, InFlight(1UL << 40, 0), huge.Raw);
                }

                break;
            case Bad.ShortInFlight:
                connection.Send(FrontEndRequest.SetInFlightFd, Log(4096, 0), file);
                break;
            case Bad.DescriptorWhereNone:
                connection.Send(FrontEndRequest.SetOwner, [], file);
                break;
            case Bad.WrongVersion:
                connection.SendRaw([1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
                break;
            case Bad.HugePayload:
                connection.SendRaw([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x7f]);
                break;
            case Bad.ReplyFlag:
                connection.SendRaw([3, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
                break;
            case Bad.UnknownRequest:
                connection.Send((FrontEndRequest)4711, []);
                break;
            case Bad.ShortFeatures:
                connection.Send(FrontEndRequest.SetFeatures, [1]);
                break;
            case Bad.FeaturesNotOffered:
                connection.Send(FrontEndRequest.SetFeatures, Number(ulong.MaxValue));
                break;
        }
    }

    private static byte[] Vring(uint index, uint number)
    {
        var payload = new byte[VringState.LengthBytes];
        new VringState(index, number).Write(payload);
        return payload;
    }

    private static byte[] Log(ulong length, ulong offset)
    {
        var payload = new byte[SharedAreaDescription.LogWireBytes];
        new SharedAreaDescription(length, offset).WriteLog(payload);
        return payload;
    }

    private static byte[] InFlight(ulong length, ulong offset)
    {
        var payload = new byte[24];
        new SharedAreaDescription(length, offset, 1, 64).WriteInFlight(payload);
        return payload;
    }

    private static byte[] Number(ulong number) => BitConverter.GetBytes(number);

    private static byte[] Table(params ReadOnlySpan<RegionDescription> regions)
    {
        var payload = new byte[RegionDescription.PrefixBytes + (regions.Length * RegionDescription.WireBytes)];
        BinaryPrimitives.WriteUInt32LittleEndian(payload, (uint)regions.Length);
        for (var i = 0; i < regions.Length; i++)
        {
            regions[i].Write(payload.AsSpan(RegionDescription.PrefixBytes + (i * RegionDescription.WireBytes)));
        }

        return payload;
    }
}
