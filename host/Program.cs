return await Vhost.Host.Cli.VhostdCommand.InvokeAsync(args).ConfigureAwait(false);
