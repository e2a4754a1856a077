namespace Vhost.VhostUser;

/// <summary>The peer broke the protocol, or asked for what cannot be done. The message is the reason, for people; the session ends with it.</summary>
public sealed class VhostUserException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="reason">What was wrong.</param>
    public VhostUserException(string reason)
        : base(reason)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="reason">What was wrong.</param>
    /// <param name="cause">What caused it.</param>
    public VhostUserException(string reason, Exception cause)
        : base(reason, cause)
    {
    }
}
