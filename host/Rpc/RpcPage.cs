using System.Text;

namespace Vhost.Host.Rpc;

/// <summary>Makes the reference page <c>docs/rpc.md</c> from the table of methods.</summary>
internal static class RpcPage
{
    private const string Head =
        """
        # JSON-RPC

        `vhostd` speaks SPDK's JSON-RPC 2.0 on a unix socket, so SPDK's own `rpc.py`, of 2019 and of today, and whatever else speaks to SPDK's vhost
        works with it. This page is made from the program's own table of methods: `vhostd rpc --page` prints it.

        ```sh
        vhostd run disks.json --rpc-socket /var/tmp/spdk.sock     # or "rpc": { "socket": ... } in the manifest; without it there is no RPC
        vhostd rpc bdev_malloc_create name=Malloc0 num_blocks=131072 block_size=512
        vhostd rpc vhost_create_scsi_controller ctrlr=vhost.0
        vhostd rpc vhost_scsi_controller_add_target ctrlr=vhost.0 scsi_target_num=0 bdev_name=Malloc0
        vhostd rpc save_config > disks.json
        vhostd status
        ```

        The socket has mode 0600: it belongs to the user that runs vhostd, and to nobody else.

        ## Controllers that are created by RPC

        The manifest says what connects them to guests: `rpc.defaultTransport` is an entry of `transports`, in which `{controller}` stands for the
        controller's name. Without it, creating a controller fails with -32602.

        ```json
        { "rpc": { "socket": "/var/tmp/spdk.sock", "defaultTransport": { "type": "vhost-user", "socket": "/var/tmp/{controller}" } } }
        ```

        A place that serves one controller only, such as a vvu device, is given without `{controller}`; a second controller is refused as busy.

        Each change is checked as a changed manifest would be, as a whole, before anything is done. `save_config` gives the manifest of the running state.

        ## Changes while guests run

        | what | how | what a guest notices |
        |---|---|---|
        | add and remove bdevs, controllers, targets | the methods below | a disk comes or goes |
        | resize | `bdev_null_resize`, `bdev_malloc_resize`, `bdev_aio_rescan` | the new capacity |
        | write protection | `vhostd_bdev_set_read_only` | writes fail |
        | limits of a bdev | `bdev_set_qos_limit` | requests wait. Reads and writes are limited, and each reactor gets an even share; what one does not use, others may |
        | interrupts | `vhost_controller_set_coalescing` | fewer interrupts while a queue is busier than the threshold, each up to 10 ms late |
        | the reactors of a controller | `vhost_controller_move` | nothing; requests under way end first |
        | everything at once | `vhostd apply FILE`, or SIGHUP for the manifest of the start | what the steps above do, as few of them as possible |

        An apply checks the whole manifest before it does anything, and says each step. It also loads plugin folders that are new. A changed file of a plugin
        that is loaded, and what only a start can change (`reactors`, `plugins`, `rpc.socket`, `security`), is named as needing a restart. Where a bdev cannot
        change while it runs, its source is removed and added again: its disk goes and comes, and a bdev in memory is empty then.

        Where a plugin adds a type of bdev, `bdev_TYPE_create` and `bdev_TYPE_delete` appear by themselves; their parameters are the type's options, as the
        manifest names them, and `name`. Where SPDK has a method of that name the pair is called `vhostd_bdev_TYPE_create` and `vhostd_bdev_TYPE_delete`.

        ## What SPDK has and vhostd has not

        Their names are not in `rpc_get_methods`, and calling them gives -32601.

        | methods | why |
        |---|---|
        | `construct_virtio_user_scsi_bdev`, `construct_virtio_user_blk_bdev`, `construct_virtio_pci_blk_bdev` | vhostd drives virtio-scsi HBAs on PCI and over vfio-user (`bdev_virtio_attach_controller`); it is no vhost-user front-end |
        | `construct_vhost_nvme_controller`, `add_vhost_nvme_ns` | SPDK itself gave the vhost-nvme device up |
        | `trace_get_info`, `trace_get_tpoint_group_mask`, `trace_enable_tpoint_group` (`enable_tpoint_group`) and the like | they tell a reader where SPDK's trace lies in shared memory; `vhostd_get_trace` gives the trace itself |
        | `thread_set_cpumask` | a thread of vhostd is a reactor, which stays on its CPU; `vhost_controller_move` moves the work |
        | `bdev_passthru_*`, `bdev_split_*`, `bdev_lvol_*` and other types of bdevs | there is no such plugin |

        ## Framing and limits

        Requests are JSON objects, back to back, with or without space between them; or arrays of them (batches). Replies end in a newline and come in the
        order of the requests; those of a batch come together. A request without `id`, or with `null`, is answered only if it fails.

        | limit | |
        |---|---|
        | request or batch | 1 MiB, 64 levels |
        | reply | 32 MiB |
        | connections | 64; when all are taken, the one that was idle longest, and for at least 10 s, makes room; else a new one is refused |
        | rest of a request | comes within 30 s |
        | reply | is read within 10 s, or the connection is closed |

        ## Errors

        `code` and `message` are SPDK's; `data` says what exactly is wrong and what to do.

        | code | message | when |
        |---|---|---|
        | -32700 | Parse error | the text is no JSON, or nests too deep; the connection is closed |
        | -32600 | Invalid request | no JSON-RPC 2.0 request; or too long, or incomplete, and then the connection is closed |
        | -32601 | Method not found | |
        | -32602 | Invalid parameters, Invalid argument | unknown, missing, wrong or impossible parameters |
        | -32602 | No such device | there is no controller, target or bdev of that name |
        | -32602 | File exists | there is one already |
        | -32602 | Device or resource busy | it is in use |
        | -32603 | Internal error | a part did not start; `data` has its reason |

        """;

    /// <summary>Makes the page.</summary>
    internal static string Make()
    {
        var surface = new RpcSurface(null);
        var page = new StringBuilder(Head.ReplaceLineEndings("\n"));
        foreach (var group in surface.Methods.GroupBy(method => method.Group))
        {
            page.Append($"\n## {group.Key}\n");
            foreach (var method in group)
            {
                page.Append($"\n### {method.Name}\n\n{method.Description}\n");
                if (method.OlderNames.Count > 0)
                {
                    page.Append($"Older names: {string.Join(", ", method.OlderNames.Select(name => $"`{name}`"))}.\n");
                }

                if (method.Parameters.Count > 0)
                {
                    page.Append("\n| parameter | type | | |\n|---|---|---|---|\n");
                    foreach (var parameter in method.Parameters)
                    {
                        page.Append($"| `{parameter.Name}` | {parameter.Type switch
                        {
                            RpcType.String => "string",
                            RpcType.Boolean => "boolean",
                            RpcType.Int32 => "int32",
                            RpcType.UInt32 => "uint32",
                            RpcType.StringList => "strings",
                            RpcType.UInt64List => "uint64s",
                            RpcType.Object => "object",
                            RpcType.Any => "any",
                            _ => "uint64",
                        }} | {(parameter.IsRequired ? "required" : "optional")} | {parameter.Description} |\n");
                    }
                }

                page.Append($"\nResult: {method.Result}.\n");
            }
        }

        return page.ToString();
    }
}
