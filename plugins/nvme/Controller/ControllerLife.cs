using System.Diagnostics;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;
using Vhost.Plugins.Nvme.Queues;

namespace Vhost.Plugins.Nvme.Controller;

/// <summary>
/// One life of a controller, from enable to disable (NVM Express Base 2.0, section 3.5): its admin queue and its I/O queues. Controller thread
/// only. Whatever it allocated is freed by <see cref="Dispose"/>, after the controller was disabled.
/// </summary>
internal sealed class ControllerLife : IDisposable
{
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(1);
    private readonly IPciDevice _device;
    private readonly PciBar _bar;
    private readonly NvmeCapabilities _capabilities;
    private readonly Func<TimeSpan, bool> _wait;
    private readonly List<QueueMemory> _queues = [];
    private AdminQueue? _admin;
    private DmaMemory? _shadow;
    private DmaMemory? _shadowEvents;

    public ControllerLife(IPciDevice device, Func<TimeSpan, bool> wait)
    {
        _device = device;
        _wait = wait;
        _bar = device.OpenBar(0);
        if (_bar.LengthBytes < NvmeRegister.Doorbells + 8)
        {
            throw new PciException($"{device.Address}: BAR 0 is {_bar.LengthBytes} bytes long, too small for an NVMe controller's registers");
        }

        _capabilities = NvmeCapabilities.Decode(_bar.Read64(NvmeRegister.Capabilities), device.Address);
    }

    public AdminQueue Admin => _admin ?? throw new InvalidOperationException("the controller is not enabled");

    /// <summary>Completions that the admin queue took.</summary>
    public long AdminAnswerCount => _admin?.AnswerCount ?? 0;

    public ControllerIdentity Identity { get; private set; } = null!;

    public IReadOnlyList<QueueMemory> Queues => _queues;

    /// <summary>Whether CSTS says that the controller failed or is gone.</summary>
    public string? FatalStatus
    {
        get
        {
            var status = _bar.Read32(NvmeRegister.Status);
            return status == NvmeRegister.Gone ? "its registers read as all ones: it is gone"
                : (status & NvmeRegister.StatusFatal) != 0 ? "it reports a fatal status (CSTS.CFS)"
                : null;
        }
    }

    /// <summary>Masks a shared interrupt line.</summary>
    public void MaskInterrupt() => _bar.Write32(NvmeRegister.InterruptMaskSet, 1);

    /// <summary>Opens a shared interrupt line.</summary>
    public void UnmaskInterrupt() => _bar.Write32(NvmeRegister.InterruptMaskClear, 1);

    /// <summary>Disables the controller, enables it with a fresh admin queue, and identifies it.</summary>
    public void Enable(TimeSpan adminTimeout)
    {
        Disable();
        _device.SetBusMastering(true);
        _admin = new AdminQueue(_device, _bar, _capabilities, adminTimeout, _wait);
        _bar.Write32(NvmeRegister.AdminQueueAttributes, AdminQueue.Attributes);
        _bar.Write64(NvmeRegister.AdminSubmissionQueueBase, _admin.SubmissionIova);
        _bar.Write64(NvmeRegister.AdminCompletionQueueBase, _admin.CompletionIova);
        _bar.Write32(NvmeRegister.Configuration, NvmeRegister.ConfigurationEntrySizes | NvmeRegister.ConfigurationEnable);
        WaitReady(true);
        _admin.ExecuteChecked(new NvmeCommand { Opcode = NvmeOpcode.Identify, Dword10 = NvmeOpcode.IdentifyController }, "Identify Controller", usesBuffer: true);
        Identity = ControllerIdentity.Decode(_admin.Buffer);
        if (!Identity.HasStandardEntrySizes)
        {
            throw new ControllerRefusal($"{_device.Address}: the controller does not take 64-byte commands and 16-byte completions (SQES, CQES); it is not usable");
        }
    }

    /// <summary>Creates I/O queue pairs.</summary>
    /// <param name="count">How many.</param>
    /// <param name="entries">Entries of each; the controller may allow fewer.</param>
    /// <param name="interrupts">How each is woken.</param>
    public void CreateQueues(int count, int entries, IReadOnlyList<QueueInterrupt> interrupts)
    {
        var wanted = (uint)(count - 1);
        var granted = Admin.ExecuteChecked(
            new NvmeCommand { Opcode = NvmeOpcode.SetFeatures, Dword10 = NvmeOpcode.FeatureNumberOfQueues, Dword11 = (wanted << 16) | wanted },
            "Set Features (number of queues)").Dword0;
        var grantedCount = Math.Min((int)(granted & 0xffff), (int)(granted >> 16)) + 1;
        if (grantedCount < count)
        {
            throw new ControllerRefusal($"{_device.Address}: the controller grants {grantedCount} I/O queue pairs, but there are {count} reactors; use a cpumask of at most {grantedCount} CPUs");
        }

        TryShareDoorbells();
        entries = Math.Min(entries, _capabilities.MaxQueueEntries);
        for (var id = 1; id <= count; id++)
        {
            var ring = new NvmeRing(_device, _bar, id, entries, _capabilities.DoorbellStrideBytes);
            QueueMemory memory;
            try
            {
                memory = new QueueMemory(_device, ring, interrupts[id - 1]);
            }
            catch
            {
                ring.Dispose();
                throw;
            }

            _queues.Add(memory);
            if (_shadow is not null)
            {
                ring.UseShadowDoorbells(_shadow.Address, _shadowEvents!.Address, _capabilities.DoorbellStrideBytes);
            }

            var size = (uint)(entries - 1) << 16;
            var hasInterrupt = memory.Interrupt.IsEnabled ? 2u : 0u;
            Admin.ExecuteChecked(
                new NvmeCommand
                {
                    Opcode = NvmeOpcode.CreateCompletionQueue,
                    Data1 = ring.CompletionIova,
                    Dword10 = size | (uint)id,
                    Dword11 = ((uint)memory.Interrupt.Vector << 16) | hasInterrupt | 1, // physically contiguous
                },
                $"Create I/O Completion Queue {id}");
            Admin.ExecuteChecked(
                new NvmeCommand { Opcode = NvmeOpcode.CreateSubmissionQueue, Data1 = ring.SubmissionIova, Dword10 = size | (uint)id, Dword11 = ((uint)id << 16) | 1 },
                $"Create I/O Submission Queue {id}");
        }
    }

    /// <summary>Clears CC.EN and waits until the controller has stopped: it does no DMA afterwards.</summary>
    /// <exception cref="ControllerFailure">It did not stop in time.</exception>
    public void Disable()
    {
        var configuration = _bar.Read32(NvmeRegister.Configuration);
        if (configuration == NvmeRegister.Gone)
        {
            throw new ControllerFailure($"{_device.Address}: the controller does not answer: its registers read as all ones");
        }

        if ((configuration & NvmeRegister.ConfigurationEnable) != 0)
        {
            _bar.Write32(NvmeRegister.Configuration, configuration & ~NvmeRegister.ConfigurationEnable);
        }

        WaitReady(false);
    }

    /// <summary>Announces a shutdown and waits until the controller has made everything durable.</summary>
    /// <returns>False if it did not say so in time.</returns>
    public bool TryShutDown(TimeSpan limit)
    {
        var configuration = _bar.Read32(NvmeRegister.Configuration);
        if (configuration == NvmeRegister.Gone)
        {
            return false;
        }

        _bar.Write32(NvmeRegister.Configuration, (configuration & ~(3u << 14)) | NvmeRegister.ConfigurationShutdownNormal);
        return TryWaitStatus(NvmeRegister.StatusShutdownMask, NvmeRegister.StatusShutdownComplete, limit);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var queue in _queues)
        {
            queue.Dispose();
        }

        _queues.Clear();
        _admin?.Dispose();
        _shadow?.Dispose();
        _shadowEvents?.Dispose();
    }

    private void TryShareDoorbells()
    {
        if (!Identity.HasDoorbellBuffers)
        {
            return;
        }

        _shadow = _device.Dma.Allocate(4096, isContiguous: true);
        _shadowEvents = _device.Dma.Allocate(4096, isContiguous: true);
        var answer = Admin.Execute(
            new NvmeCommand { Opcode = NvmeOpcode.DoorbellBufferConfig, Data1 = _shadow.Iova, Data2 = _shadowEvents.Iova }, "Doorbell Buffer Config");
        if (answer.Status != 0)
        {
            // An optimisation only: without it every doorbell is a register write.
            _shadow.Dispose();
            _shadowEvents.Dispose();
            _shadow = _shadowEvents = null;
        }
    }

    private void WaitReady(bool ready)
    {
        if (!TryWaitStatus(NvmeRegister.StatusReady, ready ? NvmeRegister.StatusReady : 0, _capabilities.ReadyTimeout))
        {
            throw new ControllerFailure(
                $"{_device.Address}: the controller did not become {(ready ? "ready" : "disabled")} within {_capabilities.ReadyTimeout.TotalSeconds:0.#} s ({FatalStatus ?? "CSTS.RDY did not change"})");
        }
    }

    private bool TryWaitStatus(uint mask, uint value, TimeSpan limit)
    {
        var start = Stopwatch.GetTimestamp();
        while (true)
        {
            var status = _bar.Read32(NvmeRegister.Status);
            if (status == NvmeRegister.Gone)
            {
                return false;
            }

            if ((status & mask) == value)
            {
                return true;
            }

            if ((status & NvmeRegister.StatusFatal) != 0 && value == NvmeRegister.StatusReady)
            {
                return false;
            }

            if (Stopwatch.GetElapsedTime(start) > limit || !_wait(PollInterval))
            {
                return false;
            }
        }
    }
}
