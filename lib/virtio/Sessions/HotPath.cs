using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.CompilerServices;

namespace Vhost.Virtio;

/// <summary>
/// Compiles what a queue runs before its first request, on the control thread that starts a queue: else the first guest's first requests wait for the
/// compiler on the reactor, and the requests of everybody else there with them. Once a process for each ring format and device type.
/// </summary>
internal static class HotPath
{
    private const BindingFlags Own = BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;

    private static readonly ConcurrentDictionary<Type, bool> Prepared = new();

    /// <summary>Compiles the rings of both formats, and what the device type runs.</summary>
    /// <param name="handler">Whose queues are going to run; the types of its namespace are compiled with it.</param>
    /// <param name="others">What else the device type's requests run.</param>
    public static void Prepare(IVirtqueueHandler handler, IReadOnlyList<Type> others)
    {
        var type = handler.GetType();
        if (!Prepared.TryAdd(type, true))
        {
            return;
        }

        if (Prepared.TryAdd(typeof(HotPath), true))
        {
            Type[] rings =
            [
                typeof(Virtqueue), typeof(RequestPool), typeof(SegmentPool), typeof(ChainParser), typeof(VirtioRequest), typeof(GuestAddressSpace), typeof(RingLayout),
                typeof(SplitDeviceRing), typeof(Virtqueue<SplitDeviceRing>), typeof(PackedDeviceRing), typeof(Virtqueue<PackedDeviceRing>), typeof(MemoryLease),
            ];
            Array.ForEach(rings, Prepare);
        }

        // A device type is small, and all of it serves requests or their session.
        foreach (var other in TypesOf(type.Assembly).Where(other => other.Namespace == type.Namespace).Concat(others))
        {
            Prepare(other);
        }
    }

    private static void Prepare(Type type)
    {
        if (type.ContainsGenericParameters || type.IsInterface)
        {
            return;
        }

        try
        {
            RuntimeTypeHandle[]? instantiation = type.IsGenericType ? [.. type.GetGenericArguments().Select(argument => argument.TypeHandle)] : null;
            foreach (var method in type.GetMethods(Own).Cast<MethodBase>().Concat(type.GetConstructors(Own)))
            {
                if (!method.IsAbstract && !method.ContainsGenericParameters && HasBody(method))
                {
                    RuntimeHelpers.PrepareMethod(method.MethodHandle, instantiation);
                }
            }
        }
        catch (Exception e) when (e is TypeLoadException or MissingMemberException or IOException or BadImageFormatException)
        {
            // A device type may have code that needs what is not installed. It says so itself where it is reached; a queue does not fail for it.
        }
    }

    private static bool HasBody(MethodBase method) =>
        (method.GetMethodImplementationFlags() & (MethodImplAttributes.InternalCall | MethodImplAttributes.CodeTypeMask)) == MethodImplAttributes.IL
        && (method.Attributes & MethodAttributes.PinvokeImpl) == 0;

    private static IEnumerable<Type> TypesOf(Assembly assembly)
    {
        try
        {
            return assembly.GetTypes();
        }
        catch (ReflectionTypeLoadException e)
        {
            // As above: the others are compiled.
            return e.Types.OfType<Type>();
        }
    }
}
