using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using StreamJsonRpc;
using Vhost.Host.Observability;

namespace Vhost.Host.Rpc;

/// <summary>One method of one connection: checks the arguments, calls, and turns failures into errors.</summary>
/// <param name="method">The method.</param>
/// <param name="handler">The connection.</param>
/// <param name="logger">Takes failures that are nobody's input.</param>
internal sealed class RpcTarget(RpcMethod method, RpcMessageHandler handler, ILogger logger)
{
    internal static readonly MethodInfo Entry = typeof(RpcTarget).GetMethod(nameof(InvokeAsync))!;

    /// <summary>Called by the dispatcher, with the whole of <c>params</c>.</summary>
    /// <param name="parameters">The <c>params</c>.</param>
    public async Task<JsonNode?> InvokeAsync(JsonElement parameters)
    {
        RpcException? failure = null;
        try
        {
            return await method.Invoke(RpcArguments.Decode(method, parameters)).ConfigureAwait(false);
        }
        catch (RpcException exception)
        {
            failure = exception;
        }
        catch (Exception exception)
        {
            logger.LogError(HostEvents.RpcMethodFailed, exception, "RPC {Method} failed", method.Name);
            failure = RpcException.Failed(exception.Message);
        }
        finally
        {
            await handler.OnReturnedAsync(failure).ConfigureAwait(false);
        }

        throw new LocalRpcException(failure.Message) { ErrorCode = failure.Code, ErrorData = failure.Detail };
    }
}
