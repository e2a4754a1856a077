using System.Text.Json.Nodes;
using CsCheck;
using Vhost.Host.Manifest;

namespace Vhost.Rpc.Tests;

/// <summary>The steps from a manifest to another, as a pure function.</summary>
public sealed class ManifestDiffTests
{
    // A manifest as few numbers: what is there, and in what form. Sources w* build on source b0.
    private static readonly Gen<JsonObject> Manifests =
        Gen.Select(Gen.Int[0, 3].Array[4], Gen.Int[0, 4].Array[3], Gen.Int[0, 5].Array[3].Array[3], Gen.Int[0, 2].Array[4]).Select((bdevs, controllers, targets, others) => Make(bdevs, controllers, targets, others));

    [Fact]
    public void Applying_the_steps_from_one_to_another_gives_the_other() =>
        Gen.Select(Manifests, Manifests).Sample((from, to) =>
        {
            var steps = ManifestDiff.Find(from, to, Order(from), Order(to));
            var root = from.DeepClone().AsObject();
            foreach (var step in steps)
            {
                step.ApplyTo(root);
                CheckReferences(root, step, steps);
            }

            Assert.True(JsonNode.DeepEquals(Pruned(to), Pruned(root)), $"{root.ToJsonString()}\nis not\n{to.ToJsonString()}\nby {string.Join("; ", steps)}");
            // The fewest: none does what another undoes, and none is there for nothing.
            Assert.Equal(steps.Count, steps.Select(step => (step.Kind, step.Name, step.Target)).Distinct().Count());
            Assert.Empty(ManifestDiff.Find(to, to.DeepClone().AsObject(), Order(to), Order(to)));
            Assert.Empty(ManifestDiff.Find(root, to, Order(to), Order(to)));
        });

    [Fact]
    public void A_change_of_what_changes_live_removes_nothing()
    {
        var from = Make([1, 1, 1, 0], [1, 0, 0], [[1, 0, 0], [0, 0, 0], [0, 0, 0]], [0, 0, 0, 0]);
        var to = from.DeepClone().AsObject();
        to["bdevs"]!["b1"]!["sizeMiB"] = 99;
        to["controllers"]!["c0"]!["cpumask"] = "0x2";
        to["controllers"]!["c0"]!["coalescing"] = new JsonObject { ["delayBaseUs"] = 5 };
        to["controllers"]!["c0"]!["targets"]!["7"] = "b1";
        to["bdevSettings"] = new JsonObject { ["b1"] = new JsonObject { ["readOnly"] = true } };
        to["reactors"] = new JsonObject { ["mode"] = "poll" };
        Assert.Equal(
            ["change bdev b1", "set limits and write protection of bdev b1", "add target 7 to controller c0", "move controller c0 to CPUs 0x2", "coalesce interrupts of controller c0", "reactors takes effect at the next start"],
            ManifestDiff.Find(from, to, Order(from), Order(to)).Select(step => step.ToString()));
    }

    private static JsonObject Make(int[] bdevs, int[] controllers, int[][] targets, int[] others)
    {
        var root = new JsonObject { ["bdevs"] = new JsonObject(), ["transports"] = new JsonObject(), ["controllers"] = new JsonObject() };
        for (var i = 0; i < bdevs.Length; i++)
        {
            if (bdevs[i] > 0)
            {
                root["bdevs"]![$"b{i}"] = new JsonObject { ["type"] = bdevs[i] == 3 ? "null" : "malloc", ["sizeMiB"] = bdevs[i] };
            }
        }

        for (var i = 0; i < controllers.Length; i++)
        {
            if (controllers[i] == 0)
            {
                continue;
            }

            var section = new JsonObject { ["type"] = controllers[i] == 4 ? "blk" : "scsi", ["transport"] = $"t{i}" };
            root["transports"]![$"t{i}"] = new JsonObject { ["type"] = "vhost-user", ["socket"] = controllers[i] == 3 ? $"/x/{i}" : $"/y/{i}" };
            if (controllers[i] == 4)
            {
                section["bdev"] = $"b{i}";
            }
            else
            {
                var list = new JsonObject();
                for (var target = 0; target < targets[i].Length; target++)
                {
                    if (targets[i][target] > 1)
                    {
                        list[$"{target}"] = $"b{targets[i][target] - 2}";
                    }
                }

                section["targets"] = list;
                if (controllers[i] == 2)
                {
                    section["cpumask"] = "0x1";
                }
            }

            root["controllers"]![$"c{i}"] = section;
        }

        if (others[0] > 0)
        {
            root["bdevSettings"] = new JsonObject { ["b0"] = new JsonObject { ["qos"] = new JsonObject { ["rwIosPerSec"] = others[0] } } };
        }

        if (others[1] > 0)
        {
            root["rpc"] = new JsonObject { ["defaultTransport"] = new JsonObject { ["type"] = "vhost-user", ["socket"] = $"/{others[1]}" } };
        }

        if (others[2] > 0)
        {
            root["reactors"] = new JsonObject { ["mode"] = others[2] == 1 ? "poll" : "adaptive" };
        }

        return root;
    }

    private static string[] Order(JsonObject root) => [.. root["bdevs"]!.AsObject().Select(pair => pair.Key)];

    /// <summary>A transport is never there without its controller, in any state between.</summary>
    private static void CheckReferences(JsonObject root, ManifestChange step, IReadOnlyList<ManifestChange> steps)
    {
        var used = root["controllers"]!.AsObject().Select(pair => pair.Value!["transport"]!.GetValue<string>()).Order();
        Assert.True(used.SequenceEqual(root["transports"]!.AsObject().Select(pair => pair.Key).Order()), $"after {step} of {string.Join("; ", steps)}");
    }

    /// <summary>Sections that are there and empty are as good as absent.</summary>
    private static JsonObject Pruned(JsonObject root)
    {
        var pruned = root.DeepClone().AsObject();
        foreach (var (key, value) in pruned.ToArray())
        {
            if (value is JsonObject { Count: 0 })
            {
                pruned.Remove(key);
            }
        }

        return pruned;
    }
}
