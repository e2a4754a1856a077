namespace Vhost.Fuzz.Tests;

/// <summary>A target failed on an input; the message has the input.</summary>
internal sealed class FuzzException(string message, Exception inner) : Exception(message, inner);
