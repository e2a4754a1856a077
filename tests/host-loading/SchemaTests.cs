using System.Text.Json.Nodes;
using NJsonSchema;
using Vhost.Host.Manifest;

namespace Vhost.Host.Loading.Tests;

/// <summary>The JSON Schema says what the host enforces. NJsonSchema, which nobody here wrote, is the judge.</summary>
public sealed class SchemaTests
{
    [Theory]
    [InlineData(null, true)]
    [InlineData("bdevs.A.sizeMiB=0", false)]
    [InlineData("bdevs.A.sizeMiB=\"64\"", false)]
    [InlineData("bdevs.A.sizeMiB=1024", true)]
    [InlineData("bdevs.A.sizeMiB=1025", false)]
    [InlineData("bdevs.A.typo=1", false)]
    [InlineData("bdevs.A.type=rihc", false)]
    [InlineData("bdevs.A.type=many", false)]
    [InlineData("bdevs.A.colour=deepBlue", true)]
    [InlineData("bdevs.A.colour=DeepBlue", false)]
    [InlineData("bdevs.A.inner.level=9", true)]
    [InlineData("bdevs.A.inner.level=10", false)]
    [InlineData("bdevs.A.inner.deeper.levl=1", false)]
    [InlineData("bdevs.A.inner.deeper.level=5", true)]
    [InlineData("bdevs.A.inner.deeper.level=6", false)]
    [InlineData("bdevs.A.inner.deeper.tags=[\"a\"]", true)]
    [InlineData("bdevs.A.labels.1=x", true)]
    [InlineData("bdevs.A.numbers=[1,2]", true)]
    [InlineData("bdevs.A.numbers=[\"x\"]", false)]
    [InlineData("bdevs.A.shared=true", true)]
    [InlineData("bdevs.A.note=null", true)]
    [InlineData("bdevs[X/Y]={\"type\":\"many\"}", false)]
    [InlineData("transports.t0.place=5x", true)]
    [InlineData("transports.t0.shared=true", false)]
    [InlineData("controllers.vhost.0.transport=[]", false)]
    [InlineData("reactors.mode=poll", true)]
    [InlineData("reactors.mode=fast", false)]
    [InlineData("reactors.cpumask=0x3", true)]
    [InlineData("reactors.cpumask=none", false)]
    [InlineData("plugins.directories=[\"a\"]", true)]
    [InlineData("plugins.directory=a", false)]
    [InlineData("bdev={}", false)]
    public async Task The_schema_and_the_host_agree(string? assignment, bool valid)
    {
        ManifestTree tree = ManifestParser.Parse(System.Text.Encoding.UTF8.GetBytes(Manifests.Valid));
        if (assignment is not null)
        {
            new ManifestOverrides(tree).ApplyAssignment(assignment);
        }

        string text = tree.Root.ToJsonString();
        Assert.Equal(valid, Manifests.Read(text).Errors.Count == 0);
        JsonSchema schema = await Judge(ManifestSchema.Of(Manifests.Plugins));
        Assert.Equal(valid, schema.Validate(text).Count == 0);
    }

    [Fact]
    public async Task Every_sample_is_valid_by_the_schema_and_by_the_host()
    {
        string root = PluginFolder.Metadata("RepositoryRoot");
        (int code, string text, _) = Vhostd.Run("schema");
        Assert.Equal(0, code);
        JsonSchema schema = await Judge(JsonNode.Parse(text)!);
        string[] samples = [.. Directory.EnumerateFiles(Path.Combine(root, "samples"), "*.json").Where(file => !file.EndsWith(".schema.json", StringComparison.Ordinal))
            // A sample of a plugin that does not come with vhostd is tested with that plugin.
            .Where(file => !Directory.Exists(Path.ChangeExtension(file, null) + "-plugin"))];
        Assert.NotEmpty(samples);
        foreach (string sample in samples)
        {
            (int validated, _, string error) = Vhostd.Run("validate", sample);
            Assert.True(validated == 0, error);
            JsonNode manifest = JsonNode.Parse(File.ReadAllText(sample), documentOptions: new() { CommentHandling = System.Text.Json.JsonCommentHandling.Skip, AllowTrailingCommas = true })!;
            Assert.NotNull(manifest["$schema"]);
            Assert.Empty(schema.Validate(manifest.ToJsonString()));
        }
    }

    [Fact]
    public void The_schema_beside_the_samples_is_the_one_that_the_host_prints()
    {
        string file = Path.Combine(PluginFolder.Metadata("RepositoryRoot"), "samples", "vhostd.schema.json");
        (_, string text, _) = Vhostd.Run("schema");
        Assert.True(File.ReadAllText(file).Trim() == text.Trim(), "run: vhostd schema > samples/vhostd.schema.json");
    }

    [Fact]
    public void The_schema_carries_descriptions_defaults_and_required_keys()
    {
        JsonObject schema = ManifestSchema.Of(Manifests.Plugins);
        JsonNode rich = schema["$defs"]!["bdevs-rich"]!;
        Assert.Equal("Has an option of every shape.", rich["description"]!.GetValue<string>());
        Assert.Equal("How big it is.", rich["properties"]!["sizeMiB"]!["description"]!.GetValue<string>());
        Assert.Equal(["type", "sizeMiB"], rich["required"]!.AsArray().Select(key => key!.GetValue<string>()));
        Assert.Equal("deepBlue", rich["properties"]!["colour"]!["default"]!.GetValue<string>());
        Assert.Equal(["type", "transport", "bdev"], schema["$defs"]!["controllers-exclusive"]!["required"]!.AsArray().Select(key => key!.GetValue<string>()));
    }

    [Fact]
    public void References_of_options_that_nest_in_themselves_lead_somewhere()
    {
        var part = new PluginPart(PartKind.Bdev, "tree", new TreeFactory(), "tree", "tree.dll");
        JsonObject schema = ManifestSchema.Of(new PluginCatalog([new LoadedPlugin("tree", "tree.dll", "1", 1, 0, [part])], []));
        string[] references = [.. References(schema["$defs"]!)];
        Assert.NotEmpty(references);
        foreach (string reference in references)
        {
            JsonNode? node = schema;
            foreach (string step in reference.Split('/').Skip(1))
            {
                node = node is JsonArray array ? array[int.Parse(step, System.Globalization.CultureInfo.InvariantCulture)] : node?[step];
            }

            Assert.NotNull(node);
        }
    }

    private static IEnumerable<string> References(JsonNode node) => node switch
    {
        JsonObject owner => owner.SelectMany(pair => pair.Key == "$ref" ? [pair.Value!.GetValue<string>()] : pair.Value is null ? [] : References(pair.Value)),
        JsonArray array => array.SelectMany(item => item is null ? [] : References(item)),
        _ => [],
    };

    private static Task<JsonSchema> Judge(JsonNode schema) =>
        JsonSchema.FromJsonAsync(schema.ToJsonString(), TestContext.Current.CancellationToken);

    public sealed class Tree
    {
        public List<Tree> Branches { get; set; } = [];
    }

    private sealed class TreeFactory : BdevFactory<Tree>
    {
        public override string Description => "Nests.";

        protected override IBdevSource Create(BdevSourceContext context, Tree options) => throw new InvalidOperationException("never started");
    }
}
