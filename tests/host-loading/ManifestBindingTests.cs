using System.Reflection;
using Vhost.Host.Manifest;

namespace Vhost.Host.Loading.Tests;

public sealed class ManifestBindingTests
{
    [Fact]
    public void A_valid_manifest_is_bound()
    {
        BoundManifest bound = Bind(Manifests.Valid);
        Assert.Equal(["A", "B"], bound.Bdevs.Select(source => source.Name));
        Assert.Equal(64, Option(bound.Bdevs[0].Options, "SizeMiB"));
        Assert.Equal(["here", "there"], bound.Transports.Select(transport => transport.Endpoint));
        Assert.Equal(["t0", "t1"], bound.Controllers.Select(controller => controller.TransportName));
        Assert.Equal(new BdevReference("targets.0", "A"), Assert.Single(bound.Controllers[0].BdevReferences));
        Assert.Equal(ReactorMode.Adaptive, bound.Reactors.Mode);
        Assert.Empty(bound.Reactors.CpuIndexes);
    }

    [Fact]
    public void Every_shape_of_option_is_bound_and_what_is_not_said_keeps_its_default()
    {
        object options = BindRich(
            """
            "serial": "07", "note": null, "fast": true, "colour": "red", "offset": 18446744073709551615, "ratio": 2e-1, "delay": "00:00:05",
            "uuid": "5f0c5ab5-9f0a-4b58-8f4f-6f1d9e3f2f10", "numbers": [1, 2], "words": ["x"], "labels": { "3": "c" },
            "named": { "n.1": { "level": 9 } }, "inner": { "deeper": { "level": 0 } }
            """);
        Assert.Equal("07", Option(options, "Serial"));
        Assert.Null(Option(options, "Note"));
        Assert.Equal(true, Option(options, "Fast"));
        Assert.Equal("Red", Option(options, "Colour")!.ToString());
        Assert.Equal(ulong.MaxValue, Option(options, "Offset"));
        Assert.Equal(0.2, Option(options, "Ratio"));
        Assert.Equal(TimeSpan.FromSeconds(5), Option(options, "Delay"));
        Assert.Equal(Guid.Parse("5f0c5ab5-9f0a-4b58-8f4f-6f1d9e3f2f10"), Option(options, "Uuid"));
        Assert.Equal([1, 2], (List<int>)Option(options, "Numbers")!);
        Assert.Equal(["x"], (string[])Option(options, "Words")!);
        Assert.Equal([new(3, "c")], (Dictionary<int, string>)Option(options, "Labels")!);
        Assert.Equal(3, Option(Option(options, "Inner")!, "Level"));
        Assert.Equal(0, Option(Option(Option(options, "Inner")!, "Deeper")!, "Level"));
    }

    [Fact]
    public void Defaults_stay_where_nothing_is_said_and_empty_lists_are_empty()
    {
        object plain = BindRich("\"serial\": \"x\"");
        Assert.Equal([7], (List<int>)Option(plain, "Numbers")!);
        Assert.Equal("DeepBlue", Option(plain, "Colour")!.ToString());
        object empty = BindRich("\"numbers\": [], \"words\": [], \"labels\": {}");
        Assert.Empty((List<int>)Option(empty, "Numbers")!);
        Assert.Empty((string[])Option(empty, "Words")!);
    }

    [Fact]
    public void Sources_are_in_starting_order()
    {
        BoundManifest bound = Bind(Manifests.With(
            bdevs: """
                "Top": { "type": "wrap", "base": "Middle" }, "Middle": { "type": "wrap", "base": "A" }, "A": { "type": "rich", "sizeMiB": 1 }
                """,
            controllers: """ "c0": { "type": "exclusive", "transport": "t0", "bdev": "Top" } """));
        Assert.Equal(["A", "Middle", "Top"], bound.Bdevs.Select(source => source.Name));
    }

    [Theory]
    [InlineData("0x1", new[] { 0 })]
    [InlineData("F0", new[] { 4, 5, 6, 7 })]
    [InlineData("0x100000000000000000", new[] { 68 })]
    [InlineData("[0, 2-3]", new[] { 0, 2, 3 })]
    public void Cpus_are_read_as_mask_or_list(string mask, int[] cpus)
    {
        BoundManifest bound = Bind(Manifests.Valid, [$"reactors.cpumask={mask}", "reactors.mode=poll"]);
        Assert.Equal(cpus, bound.Reactors.CpuIndexes);
        Assert.Equal(ReactorMode.Poll, bound.Reactors.Mode);
    }

    [Theory]
    [InlineData("bdevs.A.sizeMiB=128", "SizeMiB", 128)]
    [InlineData("bdevs.A.serial=0815", "Serial", "0815")]
    [InlineData("bdevs.A.serial=true", "Serial", "true")]
    [InlineData("bdevs.A.serial=a=b", "Serial", "a=b")]
    [InlineData("bdevs[A].fast=true", "Fast", true)]
    [InlineData("bdevs.A.note=null", "Note", null)]
    public void An_assignment_overrides(string assignment, string property, object? value) =>
        Assert.Equal(value, Option(Bind(Manifests.Valid, [assignment]).Bdevs[0].Options, property));

    [Fact]
    public void An_assignment_reaches_names_with_dots_new_entries_and_lists()
    {
        BoundManifest bound = Bind(Manifests.Valid,
        [
            "controllers.vhost.0.targets.1=C", "bdevs.C.type=rich", "bdevs.C.sizeMiB=2", "bdevs.A.numbers=[4]", "bdevs.A.numbers.1=5",
            "transports[t.2]={\"type\":\"link\",\"place\":\"p\"}", "controllers[vhost.2]={\"type\":\"sharing\",\"transport\":\"t.2\"}",
        ]);
        Assert.Equal(["A", "C"], bound.Controllers[0].BdevReferences.Select(reference => reference.BdevName));
        Assert.Equal([4, 5], (List<int>)Option(bound.Bdevs[0].Options, "Numbers")!);
        Assert.Equal("vhost.2", bound.Controllers[2].Name);
    }

    [Fact]
    public void The_environment_overrides_and_the_command_line_wins()
    {
        var environment = new Dictionary<string, string>
        {
            ["VHOSTD_bdevs__A__sizeMiB"] = "5", ["VHOSTD_bdevs__B__sizeMiB"] = "6", ["VHOSTD_controllers__vhost.1__bdev"] = "B", ["HOME"] = "/", ["bdevs__A__sizeMiB"] = "99",
        };
        ManifestResult result = Manifests.Read(Manifests.Valid, ["bdevs.A.sizeMiB=7"], environment);
        Assert.Empty(result.Errors);
        Assert.Equal([7, 6], result.Manifest!.Bdevs.Select(source => Option(source.Options, "SizeMiB")));
    }

    [Theory]
    [InlineData("bdevs.A.sizeMiB=many", "bdevs.A.sizeMiB", "a string \"many\"")]
    [InlineData("bdevs.A.typo=1", "bdevs.A.typo", "unknown key")]
    [InlineData("bdevs.A.numbers.5=1", "bdevs.A.numbers", "a list is expected")]
    [InlineData("bdevs.A={\"type\":\"rich\",\"sizeMiB\":0}", "bdevs.A.sizeMiB", "0 is not within")]
    [InlineData("bdevs.A.sizeMiB.x=1", "bdevs.A.sizeMiB.x", "nothing to set below a plain value")]
    [InlineData("nonsense", "", "path=value")]
    [InlineData("=1", "", "path=value")]
    [InlineData("bdevs.=1", "bdevs.", "does not end with a dot")]
    [InlineData("bdevs[A=1", "bdevs[A", "bracket")]
    [InlineData("bdevs..A=1", "bdevs..A", "no empty keys")]
    public void A_wrong_override_is_named_with_its_source(string assignment, string path, string message)
    {
        ManifestResult result = Manifests.Read(Manifests.Valid, [assignment]);
        ManifestError error = Assert.Single(result.Errors);
        Assert.Equal(path, error.Path);
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.Equal($"--set {assignment}", error.Source);
        Assert.Contains($"(set by --set {assignment})", error.Format("m.json"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_variable_that_means_nothing_is_a_fault() =>
        Assert.Equal("environment variable VHOSTD_DEBUG",
            Assert.Single(Manifests.Read(Manifests.Valid, environment: new() { ["VHOSTD_DEBUG"] = "1" }).Errors).Source);

    [Fact]
    public void Comments_trailing_commas_a_byte_order_mark_and_a_schema_key_are_allowed() =>
        Assert.Empty(Manifests.Read("\uFEFF// first\n{ \"$schema\": \"x.json\", /* here */ \"bdevs\": { }, }").Errors);

    [Fact]
    public void What_nobody_uses_is_a_warning()
    {
        ManifestResult result = Manifests.Read(Manifests.With(bdevs: """ "A": { "type": "rich", "sizeMiB": 1 }, "Idle": { "type": "many" } """));
        Assert.Empty(result.Errors);
        Assert.Equal(("bdevs.Idle", "nothing uses Idlen*"), (Assert.Single(result.Warnings).Path, result.Warnings[0].Message));
        Assert.Contains("no controllers", Assert.Single(Manifests.Read("{}").Warnings).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Relative_directories_of_plugins_lie_beside_the_executable_and_the_command_lines_replace_them()
    {
        IReadOnlyList<string>? directories = null;
        PluginPolicy? policy = null;
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, """{ "plugins": { "directories": ["plugins", "/opt/more"], "strictPermissions": true, "allow": ["malloc"], "sha256": { "malloc": "00ff" } } }""");
            var request = new ManifestRequest(file)
            {
                Environment = new Dictionary<string, string>(),
                LoadPlugins = (given, givenPolicy) =>
                {
                    (directories, policy) = (given, givenPolicy);
                    return Manifests.Plugins;
                },
            };
            ManifestReader.Read(request);
            Assert.Equal([Path.Combine(AppContext.BaseDirectory, "plugins"), "/opt/more"], directories);
            Assert.True(policy!.StrictPermissions);
            Assert.Equal(["malloc"], policy.Allowed);
            Assert.Equal("00ff", policy.Digests["malloc"]);
            ManifestReader.Read(request with { PluginDirectories = ["mine"] });
            Assert.Equal([Path.GetFullPath("mine")], directories);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static BoundManifest Bind(string json, string[]? set = null)
    {
        ManifestResult result = Manifests.Read(json, set);
        Assert.Empty(result.Errors);
        return result.Manifest!;
    }

    private static object BindRich(string options)
    {
        string json = Manifests.Bdevs($"\"A\": {{ \"type\": \"rich\", \"sizeMiB\": 1, {options} }}");
        return Bind(json).Bdevs[0].Options;
    }

    private static object? Option(object options, string property) =>
        options.GetType().GetProperty(property, BindingFlags.Public | BindingFlags.Instance)!.GetValue(options);
}
