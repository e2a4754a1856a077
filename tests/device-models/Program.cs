using System.Globalization;
using Vhost.Testing.DeviceModels.Nvme;
using Vhost.VfioUser;

// device-models nvme SOCKET [BLOCKSIZE:BLOCKS[:FILE]]...: serves until standard input ends, so that it never outlives its test.
if (args is not ["nvme", var socket, ..])
{
    Console.Error.WriteLine("usage: device-models nvme SOCKET [BLOCKSIZE:BLOCKS[:FILE]]...");
    return 2;
}

using var model = new NvmeModel(new NvmeSettings { Sgl = 1 });
for (var i = 2; i < args.Length; i++)
{
    var parts = args[i].Split(':', 3);
    model.Add(
        (uint)(i - 1),
        new NvmeModelNamespace(uint.Parse(parts[0], CultureInfo.InvariantCulture), ulong.Parse(parts[1], CultureInfo.InvariantCulture), parts.Length > 2 ? parts[2] : null));
}

using var server = new VfioUserServer(socket, model);
Console.WriteLine("ready");
while (Console.In.ReadLine() is not null)
{
}

return 0;
