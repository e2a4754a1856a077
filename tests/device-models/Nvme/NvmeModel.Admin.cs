using System.Buffers.Binary;
using System.Text;

namespace Vhost.Testing.DeviceModels.Nvme;

/// <summary>Admin commands and events.</summary>
public sealed unsafe partial class NvmeModel
{
    private const int InvalidOpcode = 0x001;
    private const int InvalidField = 0x002;
    private const int TransferError = 0x004;
    private const int MaxHeldEvents = 16;
    private readonly Queue<ushort> _eventRequests = new();
    private readonly Queue<uint> _events = new();
    private uint _eventMask;
    private bool _namespaceEventSent;
    private byte _criticalWarning;

    private int ExecuteAdmin(NvmeModelCommand command, out uint result, out bool answers)
    {
        result = 0;
        answers = true;
        switch (command.Opcode)
        {
            case 0x06:
                return Identify(command);
            case 0x02:
                return GetLogPage(command);
            case 0x09:
                return SetFeatures(command, out result);
            case 0x05:
                _completions[(int)(command.Dword10 & 0xffff)] = new CompletionQueue(
                    command.Data1, (int)(command.Dword10 >> 16) + 1, (int)(command.Dword11 >> 16), (command.Dword11 & 2) != 0);
                return 0;
            case 0x01:
                return CreateSubmissionQueue(command);
            case 0x00:
            case 0x04:
                if (command.Opcode == 0 && _submissions.Remove((int)(command.Dword10 & 0xffff), out var deleted))
                {
                    deleted.IsDeleted = true;
                }

                return 0;
            case 0x08:
                Counters.Aborts++;
                result = 1;
                if (Settings.AbortsHeldCommands)
                {
                    AbortHeld((int)(command.Dword10 & 0xffff), (ushort)(command.Dword10 >> 16), out result);
                }

                return 0;
            case 0x0c:
                answers = false;
                _eventRequests.Enqueue(command.Id);
                DeliverEvents();
                return 0;
            case 0x7c when Settings.HasDoorbellBuffers:
                (_shadow, _shadowEvents) = (command.Data1, command.Data2);
                return 0;
            default:
                return InvalidOpcode;
        }
    }

    private int CreateSubmissionQueue(NvmeModelCommand command)
    {
        var id = (int)(command.Dword10 & 0xffff);
        if (!_completions.TryGetValue((int)(command.Dword11 >> 16), out var completion))
        {
            return 0x100;
        }

        if (id == 0 || _submissions.ContainsKey(id))
        {
            return 0x101;
        }

        _submissions[id] = new SubmissionQueue(id, command.Data1, (int)(command.Dword10 >> 16) + 1, completion);
        return 0;
    }

    private void AbortHeld(int queueId, ushort id, out uint result)
    {
        result = 1;
        var index = _held.FindIndex(held => held.QueueId == queueId && held.Id == id);
        if (index >= 0 && _submissions.TryGetValue(queueId, out var queue))
        {
            _held.RemoveAt(index);
            result = 0;
            Post(queue, id, 0x007, 0);
            Interrupt(queue.Completion);
        }
    }

    private int SetFeatures(NvmeModelCommand command, out uint result)
    {
        result = 0;
        switch (command.Dword10 & 0xff)
        {
            case 0x07:
                result = Settings.QueueGrant;
                return 0;
            case 0x0b:
                _eventMask = command.Dword11;
                return 0;
            default:
                return InvalidField;
        }
    }

    private int Identify(NvmeModelCommand command)
    {
        var data = new byte[4096];
        switch (command.Dword10 & 0xff)
        {
            case 0x01:
                DescribeController(data);
                Settings.PatchController?.Invoke(data);
                break;
            case 0x00:
                if (_namespaces.TryGetValue(command.NamespaceId, out var one))
                {
                    BinaryPrimitives.WriteUInt64LittleEndian(data, one.BlockCount);
                    BinaryPrimitives.WriteUInt64LittleEndian(data.AsSpan(8), one.BlockCount);
                    BinaryPrimitives.WriteUInt64LittleEndian(data.AsSpan(16), one.BlockCount);
                    data[33] = 1; // deallocated blocks read as zeroes
                    data[104] = 0x6e;
                    data[119] = (byte)command.NamespaceId;
                    BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(128), (uint)System.Numerics.BitOperations.Log2(one.BlockSizeBytes) << 16);
                    Settings.PatchNamespace?.Invoke(command.NamespaceId, data);
                }

                break;
            case 0x02:
                var at = 0;
                foreach (var id in _namespaces.Keys.Where(id => id > command.NamespaceId))
                {
                    BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(at), id);
                    at += 4;
                }

                break;
            default:
                return InvalidField;
        }

        return Copy(command, data);
    }

    private void DescribeController(byte[] data)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(data, 0x1b36);
        Encoding.ASCII.GetBytes("SN0001".PadRight(20)).CopyTo(data, 4);
        Encoding.ASCII.GetBytes("vhost NVMe model".PadRight(40)).CopyTo(data, 24);
        Encoding.ASCII.GetBytes("1.0".PadRight(8)).CopyTo(data, 64);
        data[77] = Settings.MaxTransferShift;
        BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(80), 0x00010400);
        BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(92), 0x100); // namespace attribute changes
        BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(256), (ushort)(Settings.HasDoorbellBuffers ? 1 << 8 : 0));
        data[258] = 3;
        data[259] = 3;
        data[512] = 0x66;
        data[513] = 0x44;
        BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(516), 16);
        BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(520), 1 | 4 | 8);
        data[525] = 1;
        BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(536), Settings.Sgl);
    }

    private int GetLogPage(NvmeModelCommand command)
    {
        var data = new byte[Math.Min(((command.Dword10 >> 16) + 1) * 4, 4096)];
        switch (command.Dword10 & 0xff)
        {
            case 0x01:
                break;
            case 0x02:
                data[0] = _criticalWarning;
                BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(1), 300);
                data[3] = 100;
                data[5] = 7;
                break;
            case 0x04:
                _namespaceEventSent = false;
                break;
            default:
                return 0x109;
        }

        return Copy(command, data);
    }

    // Admin buffers are page-aligned here: one PRP entry.
    private int Copy(NvmeModelCommand command, byte[] data)
    {
        if (!Session!.Dma.TryTranslate(command.Data1, (ulong)data.Length, forWriting: true, out var address))
        {
            Counters.Violations++;
            return TransferError;
        }

        data.CopyTo(new Span<byte>((void*)address, data.Length));
        return 0;
    }

    private void RaiseNamespaceChange()
    {
        if ((_eventMask & 0x100) != 0 && !_namespaceEventSent)
        {
            _namespaceEventSent = true;
            RaiseEvent(2 | (0 << 8) | (4 << 16));
        }
    }

    private void RaiseEvent(uint value)
    {
        if (Session is not null && (_status & StatusReady) != 0 && _events.Count < MaxHeldEvents)
        {
            _events.Enqueue(value);
            DeliverEvents();
            if (_submissions.TryGetValue(0, out var admin) && admin.Completion.NeedsInterrupt)
            {
                Interrupt(admin.Completion);
            }
        }
    }

    private void DeliverEvents()
    {
        while (_events.Count > 0 && _eventRequests.Count > 0)
        {
            Post(_submissions[0], _eventRequests.Dequeue(), 0, _events.Dequeue());
        }
    }
}
