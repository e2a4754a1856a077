using Vhost.Bench;

return CompareCommand.Create().Parse(args).Invoke();
