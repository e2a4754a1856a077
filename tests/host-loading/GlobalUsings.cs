global using Vhost.Abstractions;
