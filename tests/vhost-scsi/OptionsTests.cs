using Vhost.Abstractions;
using Vhost.Plugins.VhostScsi;

namespace Vhost.VhostScsi.Tests;

/// <summary>The directory of the reservations in a controller's section.</summary>
public sealed class OptionsTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vhostd-scsi-options-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static List<string> Validate(string reservations)
    {
        var errors = new Errors();
        ((IPartFactory)new VhostScsiFactory()).Validate(new VhostScsiOptions { Reservations = reservations }, errors);
        return errors.Messages;
    }

    [Fact]
    public void A_directory_that_is_there_or_not_yet_is_taken_and_not_touched()
    {
        Assert.Empty(Validate(_directory));
        var later = Path.Combine(_directory, "later");
        Assert.Empty(Validate(later));
        Assert.False(Directory.Exists(later));
    }

    [Fact]
    public void A_damaged_file_is_named_before_anything_starts()
    {
        var file = Path.Combine(_directory, "naa.3000000000000001.reservations");
        File.WriteAllText(file, "vhostd persistent reservations 1\n");
        Assert.Contains($"reservations: {file} cannot be used: its checksum is missing or wrong", Assert.Single(Validate(_directory)), StringComparison.Ordinal);
        Assert.Contains("is a file; a directory is needed", Assert.Single(Validate(file)), StringComparison.Ordinal);
        Assert.Contains("it is empty", Assert.Single(Validate("")), StringComparison.Ordinal);
    }

    private sealed class Errors : IOptionsErrors
    {
        public List<string> Messages { get; } = [];

        public void Add(string path, string message) => Messages.Add($"{path}: {message}");
    }
}
