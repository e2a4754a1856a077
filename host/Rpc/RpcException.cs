namespace Vhost.Host.Rpc;

/// <summary>A call failed: the error object of the reply.</summary>
/// <param name="code">The code.</param>
/// <param name="message">What SPDK says in this case, so that tools recognise it.</param>
/// <param name="detail">What exactly is wrong and what to do, or null; it becomes the error's <c>data</c>.</param>
internal sealed class RpcException(int code, string message, string? detail = null) : Exception(message)
{
    internal const int ParseError = -32700;
    internal const int InvalidRequest = -32600;
    internal const int MethodNotFound = -32601;
    internal const int InvalidParams = -32602;
    internal const int InternalError = -32603;

    /// <summary>The code.</summary>
    internal int Code => code;

    /// <summary>What exactly is wrong, or null.</summary>
    internal string? Detail => detail;

    // The texts are those of strerror, as SPDK sends them.
    internal static RpcException FileExists(string detail) => new(InvalidParams, "File exists", detail);

    internal static RpcException NoSuchDevice(string detail) => new(InvalidParams, "No such device", detail);

    internal static RpcException Busy(string detail) => new(InvalidParams, "Device or resource busy", detail);

    internal static RpcException InvalidArgument(string detail) => new(InvalidParams, "Invalid argument", detail);

    internal static RpcException InvalidParameters(string detail) => new(InvalidParams, "Invalid parameters", detail);

    internal static RpcException Failed(string detail) => new(InternalError, "Internal error", detail);
}
