using System.Globalization;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.EndToEnd.Tests;

/// <summary>Plugs memory in and out of a guest whose disks are busy.</summary>
internal static class HotplugCheck
{
    private const int ModuleMiB = 256;

    public static async Task RunAsync(GuestVm vm, string[] disks)
    {
        Task<string>[] loads = [.. disks.Select(d => vm.CheckAsync(Fio.VerifyFor(d, 600, 16), TimeSpan.FromSeconds(600)))];
        int before = await TotalMiBAsync(vm);
        for (int round = 0; round < 2; round++)
        {
            await vm.PlugMemoryAsync("module", ModuleMiB);
            await Deadline.UntilAsync(
                "the guest uses the new memory", TimeSpan.FromSeconds(120), async () => await TotalMiBAsync(vm) >= before + (ModuleMiB * 9 / 10));
            await GoesOnAsync(loads);
            // These buffers cannot all be in the old memory, so the disk has to reach the new one.
            await vm.CheckAsync(
                $"dd if=/dev/urandom of=/dev/shm/random bs=1M count={ModuleMiB / 2} 2>/dev/null && rm /dev/shm/random && " +
                Fio.Verify(disks[0], 8, 1 << 20, depth: 8, "--offset=32M --mem=mmap --iomem_align=4k"));
            await vm.UnplugMemoryAsync("module", TimeSpan.FromSeconds(180));
            await Deadline.UntilAsync(
                "the guest gave the memory back", TimeSpan.FromSeconds(120), async () => await TotalMiBAsync(vm) < before + (ModuleMiB / 2));
        }

        await GoesOnAsync(loads);
        await vm.CheckAsync("killall -INT fio");
        await Task.WhenAll(loads);
    }

    private static async Task GoesOnAsync(Task<string>[] loads)
    {
        foreach (Task<string> load in loads.Where(l => l.IsCompleted))
        {
            throw new EndToEndException($"fio ended early: {await load}");
        }
    }

    private static async Task<int> TotalMiBAsync(GuestVm vm) =>
        int.Parse((await vm.CheckAsync("sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")).Trim(), CultureInfo.InvariantCulture) / 1024;
}
