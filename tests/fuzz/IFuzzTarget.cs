namespace Vhost.Fuzz.Tests;

/// <summary>Something that takes whatever comes and must neither throw, hang, nor leave anything behind.</summary>
internal interface IFuzzTarget : IDisposable
{
    /// <summary>Does what an input says, and checks what must hold afterwards.</summary>
    /// <param name="input">The decisions.</param>
    /// <returns>What was seen, in short: an input that shows something new is kept and built upon.</returns>
    ulong Run(FuzzInput input);
}
