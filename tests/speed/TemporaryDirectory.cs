namespace Vhost.Speed.Tests;

internal sealed class TemporaryDirectory(string? parent = null) : IDisposable
{
    public string Path { get; } = parent is null
        ? Directory.CreateTempSubdirectory("vhost-speed-").FullName
        : Directory.CreateDirectory(System.IO.Path.Combine(parent, $"vhost-speed-{Guid.NewGuid():N}")).FullName;

    public string File(string name) => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
