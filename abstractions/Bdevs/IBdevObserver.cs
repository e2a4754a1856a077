namespace Vhost.Abstractions;

/// <summary>Is told what happens at a port. Calls come on control threads, one at a time per port; they must not wait for a reactor.</summary>
public interface IBdevObserver
{
    /// <summary>Something happened.</summary>
    /// <param name="port">Where.</param>
    /// <param name="change">What.</param>
    void OnBdevChanged(IBdevPort port, BdevChange change);
}
