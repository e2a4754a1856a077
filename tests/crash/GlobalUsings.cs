global using Vhost.EndToEnd.Tests.Harness;
