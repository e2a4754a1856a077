using Vhost.Host.Manifest;

namespace Vhost.Host.Loading.Tests;

/// <summary>Every fault of a manifest, with its path and what would be right.</summary>
public sealed class ManifestErrorTests
{
    private const string Rich = "\"type\": \"rich\", \"sizeMiB\": 1";

    [Theory]
    // Sections
    [InlineData("""{ "bdev": {} }""", "bdev", "unknown key; did you mean \"bdevs\"?")]
    [InlineData("""{ "bdevs": [] }""", "bdevs", "an object is expected, not a list")]
    [InlineData("""{ "controllers": null }""", "controllers", "an object is expected, not null")]
    [InlineData("""{ "bdevs": { "A": 5 } }""", "bdevs.A", "an object is expected: { \"type\": ... }")]
    [InlineData("""{ "plugins": { "directory": "x" } }""", "plugins.directory", "unknown key; did you mean \"directories\"?")]
    [InlineData("""{ "plugins": { "directories": "x" } }""", "plugins.directories", "a string, but a list is expected")]
    [InlineData("""{ "plugins": { "strictPermissions": "true" } }""", "plugins.strictPermissions", "true or false is expected; leave the quotes away")]
    [InlineData("""{ "reactors": { "mode": "Poll" } }""", "reactors.mode", "did you mean \"poll\"? valid values: adaptive, interrupt, poll")]
    [InlineData("""{ "reactors": { "cpumask": 3 } }""", "reactors.cpumask", "a number 3, but a string is expected")]
    [InlineData("""{ "reactors": { "cpumask": "0x0" } }""", "reactors.cpumask", "is not a mask like")]
    [InlineData("""{ "reactors": { "cpumask": "[3-1]" } }""", "reactors.cpumask", "is not a mask like")]
    [InlineData("""{ "reactors": { "cpumask": "[0-99999]" } }""", "reactors.cpumask", "CPUs up to 4095")]
    [InlineData("""{ "reactors": { "cpumask": "0xg" } }""", "reactors.cpumask", "is not a mask like")]
    // Types and names
    [InlineData("""{ "bdevs": { "A": {} } }""", "bdevs.A", "\"type\" is missing; valid types: many, rich, wrap")]
    [InlineData("""{ "bdevs": { "A": { "type": "ritch" } } }""", "bdevs.A.type", "unknown type \"ritch\"; did you mean \"rich\"? valid types: many, rich, wrap")]
    [InlineData("""{ "bdevs": { "A": { "type": "link" } } }""", "bdevs.A.type", "unknown type \"link\"; valid types: many, rich, wrap")]
    [InlineData("""{ "bdevs": { "A": { "type": 7 } } }""", "bdevs.A.type", "a string is expected")]
    [InlineData("""{ "bdevs": { "A/B": { "type": "rich", "sizeMiB": 1 } } }""", "bdevs.A/B", "is not made of")]
    [InlineData("""{ "bdevs": { "A:B": { "type": "rich", "sizeMiB": 1 } } }""", "bdevs.A:B", "is not made of")]
    [InlineData("""{ "bdevs": { "a": { "type": "rich", "sizeMiB": 1 }, "A": { "type": "rich", "sizeMiB": 1 } } }""", "bdevs.A", "\"a\" and \"A\" differ only in case")]
    [InlineData("""{ "bdevs": { "A": { "type": "rich", "sizeMiB": 1, "sizeMiB": 2 } } }""", "bdevs.A.sizeMiB", "occurs again in line 1")]
    [InlineData("""{ "bdevs": { "A": { "type": "rich", "sizeMiB": 1, "shared": "yes" } } }""", "bdevs.A.shared", "true or false is expected")]
    public void A_fault_of_the_frame_is_named(string json, string path, string message) => AssertFault(Manifests.Read(json), path, message);

    [Theory]
    [InlineData("\"type\": \"rich\"", "", "\"sizeMiB\" is missing: a whole number")]
    [InlineData(Rich + ", \"sizeMib\": 2", ".sizeMib", "unknown key; did you mean \"sizeMiB\"?")]
    [InlineData("\"type\": \"rich\", \"sizeMiB\": \"1\"", ".sizeMiB", "a string \"1\", but a whole number from -2147483648 to 2147483647 is expected; leave the quotes away")]
    [InlineData("\"type\": \"rich\", \"sizeMiB\": 0", ".sizeMiB", "0 is not within 1 to 1024")]
    [InlineData("\"type\": \"rich\", \"sizeMiB\": 1025", ".sizeMiB", "1025 is not within 1 to 1024")]
    [InlineData("\"type\": \"rich\", \"sizeMiB\": 1.5", ".sizeMiB", "1.5 is not a whole number")]
    [InlineData("\"type\": \"rich\", \"sizeMiB\": 1e2", ".sizeMiB", "1e2 is not a whole number")]
    [InlineData("\"type\": \"rich\", \"sizeMiB\": 99999999999", ".sizeMiB", "99999999999 is not a whole number from -2147483648 to 2147483647")]
    [InlineData("\"type\": \"rich\", \"sizeMiB\": null", ".sizeMiB", "null, but")]
    [InlineData("\"type\": \"rich\", \"sizeMiB\": true", ".sizeMiB", "a truth value true, but a whole number")]
    [InlineData("\"type\": \"rich\", \"sizeMiB\": [1]", ".sizeMiB", "a list [1], but a whole number")]
    [InlineData(Rich + ", \"serial\": 5", ".serial", "a number 5, but a string is expected")]
    [InlineData(Rich + ", \"serial\": null", ".serial", "null, but a string is expected; leave the key out")]
    [InlineData(Rich + ", \"serial\": \"012345678901234567890\"", ".serial", "is longer than 20")]
    [InlineData(Rich + ", \"fast\": 1", ".fast", "a number 1, but true or false is expected")]
    [InlineData(Rich + ", \"fast\": \"true\"", ".fast", "leave the quotes away")]
    [InlineData(Rich + ", \"colour\": \"green\"", ".colour", "valid values: deepBlue, red")]
    [InlineData(Rich + ", \"colour\": 0", ".colour", "one of red, deepBlue is expected")]
    [InlineData(Rich + ", \"offset\": -1", ".offset", "-1 is not a whole number from 0 to 18446744073709551615")]
    [InlineData(Rich + ", \"ratio\": \"x\"", ".ratio", "a number is expected")]
    [InlineData(Rich + ", \"delay\": \"soon\"", ".delay", "is not a time span")]
    [InlineData(Rich + ", \"uuid\": \"5\"", ".uuid", "is not a UUID")]
    [InlineData(Rich + ", \"numbers\": 5", ".numbers", "a number, but a list is expected")]
    [InlineData(Rich + ", \"numbers\": [1, \"x\"]", ".numbers.1", "a string \"x\", but a whole number")]
    [InlineData(Rich + ", \"numbers\": [1, null]", ".numbers.1", "null, but")]
    [InlineData(Rich + ", \"numbers\": [13]", ".numbers", "13 is unlucky")]
    [InlineData(Rich + ", \"labels\": { \"x\": \"y\" }", ".labels.x", "the key \"x\" is not a whole number")]
    [InlineData(Rich + ", \"labels\": { \"1\": 2 }", ".labels.1", "a number 2, but a string")]
    [InlineData(Rich + ", \"labels\": [ \"y\" ]", ".labels", "a list, but an object is expected")]
    [InlineData(Rich + ", \"named\": { \"a:b\": {} }", ".named.a:b", "has no ':'")]
    [InlineData(Rich + ", \"named\": { \"a\": {}, \"A\": {} }", ".named", "differ only in case")]
    [InlineData(Rich + ", \"named\": { \"a\": { \"level\": 10 } }", ".named.a.level", "10 is not within 0 to 9")]
    [InlineData(Rich + ", \"inner\": { \"deeper\": { \"levl\": 1 } }", ".inner.deeper.levl", "did you mean \"level\"?")]
    [InlineData(Rich + ", \"inner\": 4", ".inner", "an object is expected")]
    [InlineData(Rich + ", \"note\": \"throw\"", "", "failed in Validate: InvalidOperationException: told to")]
    public void A_fault_of_the_options_is_named(string options, string path, string message) =>
        AssertFault(Manifests.Read(Manifests.Bdevs($"\"A\": {{ {options} }}")), "bdevs.A" + path, message);

    [Theory]
    [InlineData("\"type\": \"sharing\", \"targets\": {}", "", "\"transport\" is missing")]
    [InlineData("\"type\": \"sharing\", \"transport\": 5", ".transport", "a string is expected")]
    [InlineData("\"type\": \"sharing\", \"transport\": \"t9\"", ".transport", "there is no transport \"t9\"; did you mean \"t0\"?")]
    [InlineData("\"type\": \"sharing\", \"transport\": \"t0\", \"targets\": { \"0\": \"AA\" }", ".targets.0", "there is no bdev \"AA\"; did you mean \"A\"?")]
    [InlineData("\"type\": \"sharing\", \"transport\": \"t0\", \"targets\": { \"0\": \"A\", \"1\": \"A\" }", ".targets.1", "used by controllers.c0.targets.0 already; if both guests may write it")]
    [InlineData("\"type\": \"sharing\", \"transport\": \"t0\", \"cpumask\": \"0x1\"", ".cpumask", "reactors.cpumask, which is not set")]
    [InlineData("\"type\": \"sharing\", \"transport\": \"t0\", \"cpumask\": 1", ".cpumask", "1 is not a mask like")]
    public void A_fault_of_a_controller_is_named(string controller, string path, string message) =>
        AssertFault(Manifests.Read(Manifests.With(controllers: $"\"c0\": {{ {controller} }}")), "controllers.c0" + path, message);

    [Fact]
    public void A_controller_on_a_cpu_without_reactor_is_named()
    {
        string json = Manifests.Valid.Replace("\"targets\":", "\"cpumask\": \"0x6\", \"targets\":", StringComparison.Ordinal);
        AssertFault(Manifests.Read(json, ["reactors.cpumask=0x3"]), "controllers.vhost.0.cpumask", "there is no reactor on CPU 2; reactors.cpumask has 0, 1");
    }

    [Fact]
    public void A_transport_used_twice_and_one_not_used_are_named()
    {
        ManifestResult result = Manifests.Read(Manifests.Valid, ["controllers.vhost.1.transport=t0"]);
        AssertFault(result, "controllers.vhost.1.transport", "the transport \"t0\" serves controllers.vhost.0 already");
        AssertFault(result, "transports.t1", "no controller uses this transport");
    }

    [Fact]
    public void Two_transports_at_the_same_endpoint_are_named() =>
        AssertFault(Manifests.Read(Manifests.Valid, ["transports.t1.place=here"]), "transports.t1", "here is occupied by transports.t0 already");

    [Theory]
    [InlineData("", "sharing", "if both guests may write it")]
    [InlineData(", \"shared\": true", "sharing", null)]
    [InlineData(", \"shared\": true", "exclusive", "the controller type exclusive (controllers.c1.bdev) does not share bdevs")]
    [InlineData("", "exclusive", "the controller type exclusive (controllers.c1.bdev) does not share bdevs")]
    public void A_bdev_is_used_twice_only_where_it_is_shared_and_all_can_share(string shared, string secondType, string? message)
    {
        string second = secondType == "sharing" ? "\"targets\": { \"5\": \"A\" }" : "\"bdev\": \"A\"";
        string where = secondType == "sharing" ? "controllers.c1.targets.5" : "controllers.c1.bdev";
        ManifestResult result = Manifests.Read(Manifests.With(
            bdevs: $"\"A\": {{ {Rich}{shared} }}",
            transports: "\"t0\": { \"type\": \"link\", \"place\": \"x\" }, \"t1\": { \"type\": \"link\", \"place\": \"y\" }",
            controllers: $"\"c0\": {{ \"type\": \"sharing\", \"transport\": \"t0\", \"targets\": {{ \"0\": \"A\" }} }}, \"c1\": {{ \"type\": \"{secondType}\", \"transport\": \"t1\", {second} }}"));
        if (message is null)
        {
            Assert.Empty(result.Errors);
            Assert.True(result.Manifest!.Bdevs[0].IsShared);
        }
        else
        {
            AssertFault(result, where, message);
            Assert.Single(result.Errors);
        }
    }

    [Fact]
    public void A_bdev_below_a_wrapper_cannot_be_used_beside_it() =>
        AssertFault(
            Manifests.Read(Manifests.With(bdevs: $"\"A\": {{ {Rich}, \"shared\": true }}, \"W\": {{ \"type\": \"wrap\", \"base\": \"A\" }}")),
            "controllers.c0.targets.0", "a bdev that another is built on (bdevs.W.base) cannot be used beside it");

    [Fact]
    public void Wrappers_in_a_circle_are_named()
    {
        ManifestResult result = Manifests.Read(Manifests.Bdevs(
            "\"X\": { \"type\": \"wrap\", \"base\": \"Y\" }, \"Y\": { \"type\": \"wrap\", \"base\": \"Z\" }, \"Z\": { \"type\": \"wrap\", \"base\": \"X\" }"));
        AssertFault(result, "bdevs.X", "in a circle: X -> Y -> Z -> X");
        Assert.Single(result.Errors);
    }

    [Fact]
    public void A_wrapper_of_itself_and_one_of_nothing_are_named()
    {
        AssertFault(Manifests.Read(Manifests.Bdevs("\"X\": { \"type\": \"wrap\", \"base\": \"X\" }")), "bdevs.X", "in a circle: X -> X");
        AssertFault(Manifests.Read(Manifests.Bdevs("\"X\": { \"type\": \"wrap\", \"base\": \"Nothing\" }")), "bdevs.X.base", "there is no bdev \"Nothing\"");
    }

    [Theory]
    [InlineData("M", "Mn1", "may publish the bdev \"Mn1\", which bdevs.M may publish as well (\"Mn*\")")]
    [InlineData("M", "Mn", null)]
    [InlineData("M", "Mnx", null)]
    public void Names_that_two_sources_may_publish_are_named(string many, string plain, string? message)
    {
        ManifestResult result = Manifests.Read(Manifests.Bdevs($"\"{many}\": {{ \"type\": \"many\" }}, \"{plain}\": {{ {Rich} }}"));
        if (message is null)
        {
            Assert.Empty(result.Errors);
        }
        else
        {
            AssertFault(result, "bdevs." + plain, message);
        }
    }

    [Theory]
    [InlineData("Mn1", true)]
    [InlineData("Mn4095", true)]
    [InlineData("Mn", false)]
    [InlineData("M", false)]
    [InlineData("Mn1p", false)]
    public void A_reference_may_lead_to_a_declared_pattern(string name, bool exists)
    {
        ManifestResult result = Manifests.Read(Manifests.With(
            bdevs: "\"M\": { \"type\": \"many\" }",
            controllers: $"\"c0\": {{ \"type\": \"sharing\", \"transport\": \"t0\", \"targets\": {{ \"0\": \"{name}\" }} }}"));
        Assert.Equal(exists, result.Errors.Count == 0);
        if (!exists)
        {
            AssertFault(result, "controllers.c0.targets.0", $"there is no bdev \"{name}\"");
        }
    }

    [Fact]
    public void All_faults_are_reported_at_once_with_their_lines_in_the_files_order()
    {
        ManifestResult result = Manifests.Read(
            """
            {
              // A comment
              "reactors": { "mode": "fast" },
              "bdevs": {
                "A": { "type": "rich", "sizeMiB": 0,
                       "colour": "green" },
                "B": { "type": "rihc" },
              },
              "transports": { "t0": { "type": "link" } },
              "controllers": {
                "c0": { "type": "sharing", "transport": "t1",
                        "targets": { "0": "A", "1": "C" } }
              }
            }
            """);
        Assert.Equal(
            ["3 reactors.mode", "5 bdevs.A.sizeMiB", "6 bdevs.A.colour", "7 bdevs.B.type", "9 transports.t0", "9 transports.t0", "11 controllers.c0.transport", "12 controllers.c0.targets.1"],
            result.Errors.Select(error => $"{error.Line} {error.Path}"));
        Assert.Null(result.Manifest);
    }

    [Fact]
    public void What_a_source_with_faults_would_publish_is_not_called_missing()
    {
        ManifestResult result = Manifests.Read(Manifests.With(bdevs: "\"A\": { \"type\": \"rich\" }"));
        Assert.Equal("bdevs.A", Assert.Single(result.Errors).Path);
    }

    [Fact]
    public void A_type_whose_plugin_is_broken_is_told_with_the_plugins_problem()
    {
        using var folder = new PluginFolder("newer");
        ManifestResult result = Manifests.Read(Manifests.Bdevs("\"A\": { \"type\": \"newer\" }"), catalog: folder.Load());
        AssertFault(result, "bdevs.A.type", "the type \"newer\" cannot be used: plugin newer: the plugin was compiled against contract 1.99");
        AssertFault(result, "bdevs.A.type", folder.FileOf("newer"));
    }

    [Theory]
    [InlineData("", 1)]
    [InlineData("[]", 1)]
    [InlineData("{", 1)]
    [InlineData("{\n  \"a\": tru }", 2)]
    [InlineData("{\n} {", 2)]
    [InlineData("{ \"a\": \"\\ud800\" }", null)]
    public void What_is_not_json_is_one_fault_with_its_line(string text, int? line)
    {
        ManifestError error = Assert.Single(Manifests.Read(text).Errors);
        if (line is not null)
        {
            Assert.Equal(line, error.Line);
        }
    }

    [Fact]
    public void A_file_that_cannot_be_read_is_one_fault() =>
        Assert.Contains("cannot be read", Assert.Single(ManifestReader.Read(new ManifestRequest("/nowhere/manifest.json")).Errors).Message, StringComparison.Ordinal);

    private static void AssertFault(ManifestResult result, string path, string message)
    {
        Assert.Null(result.Manifest);
        Assert.Contains(result.Errors, error => error.Path == path && error.Message.Contains(message, StringComparison.Ordinal));
    }
}
